"""What is wrong with an app as it is written, and where: the error, and how the place is found."""

from __future__ import annotations

import sys
from typing import Any


class AppError(Exception):
    """The app is written in a way that can't work.

    Attributes:
        message: What is wrong, with the names and places involved.
        hint: What to change, or an empty string.
        file: Absolute path of the file to look at, or an empty string.
        line: The line in it, counted from 1; 0 if there is none.
    """

    def __init__(self, message: str, hint: str = "", file: str = "", line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.file = file
        self.line = line


def at(file: str, line: int) -> str:
    """Write a place as ``file:line``."""
    return f"{file}:{line}"


def place_of_caller(depth: int, *, outside: str = "") -> tuple[str, int]:
    """Say who called the caller's caller, ``depth`` calls further out.

    Args:
        depth: 0 is who called the function that asks.
        outside: A file whose own frames don't count.
    """
    frame = sys._getframe(depth + 1)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - the only way to know where the user wrote it
    while frame.f_back is not None and frame.f_code.co_filename == outside:
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is a number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
