"""Pinned requests between sessions, in the project's own folder."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "pins.json"


def load(folder: Path) -> list[dict[str, Any]]:
    """Read the pinned requests; none if there is no file.

    Raises:
        ValueError: The file holds something else.
        OSError: It can't be read.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return []
    data = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(data, list) or not all(isinstance(item, dict) and "name" in item for item in data):  # pyright: ignore[reportUnknownVariableType]
        msg = f"{path} is not a list of requests"
        raise ValueError(msg)
    return data  # pyright: ignore[reportUnknownVariableType]


def save(folder: Path, requests: list[dict[str, Any]]) -> None:
    """Keep the pinned requests; only this user can read them, since a request's headers may hold a key.

    Raises:
        OSError: The folder can't be written.
    """
    fresh = folder / f"{FILE_NAME}.new"
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(requests, file, indent=1)
    fresh.replace(folder / FILE_NAME)
