"""The event stream as JSON, one object a line: for programs, continuous integration and coding agents."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TextIO

from hotloop.events import to_json

if TYPE_CHECKING:
    from hotloop.events import Event


class JsonLines:
    """Writes each event as it comes; nothing else is written to its stream."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __call__(self, event: Event) -> None:
        """Write one event."""
        self._out.write(json.dumps(to_json(event), separators=(",", ":")) + "\n")
        self._out.flush()
