"""Whether the environment that runs this is one that hotloop made: then nobody is to install into it."""

from __future__ import annotations

import sys
from pathlib import Path

MARKER = "hotloop-environment.json"


def is_made_by_hotloop(prefix: str = sys.prefix) -> bool:
    """Look for what hotloop leaves in an environment that it made."""
    return (Path(prefix) / MARKER).exists()
