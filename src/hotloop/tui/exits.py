"""How the dashboard ended, as its process says it to the `dev serve` that opened it."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """An exit code of the dashboard's process; any other means that it crashed."""

    CLOSED = 0  # the session ended, or was asked to end or to be left
    PLAIN = 75  # the user wants plain lines in its place
