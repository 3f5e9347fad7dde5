"""Importing paramiko, which takes longer than anything else before a connection: 70 ms, and 40 more with what it needs of invoke."""

from __future__ import annotations

import shutil
import sys


def load() -> None:
    """Import paramiko without invoke, if ssh is there: invoke alone runs what ``Match exec`` says, where ssh is not asked."""
    if "invoke" in sys.modules or not shutil.which("ssh"):
        return
    sys.modules["invoke"] = None  # type: ignore[assignment]  # how Python says that a module is not to be had
    try:
        import paramiko  # noqa: F401  # pyright: ignore[reportUnusedImport]
    finally:
        del sys.modules["invoke"]
