"""Pinned requests between sessions, in the project's own folder."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, cast

from hotloop.errors import HotloopError

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "pins.json"


def load(folder: Path) -> list[dict[str, Any]]:
    """Read the pinned requests; none if there is no file.

    Raises:
        HotloopError: The file can't be read, or holds something else.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return []
    try:
        return _checked(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        msg = f"the pinned requests in {path} can't be read: {error}"
        raise HotloopError(msg, hint="move the file away and pin them again") from error


def _checked(data: Any) -> list[dict[str, Any]]:
    requests: list[Any] = cast("list[Any]", data) if isinstance(data, list) else [None]
    if not all(isinstance(item, dict) and "name" in item for item in requests):
        msg = "a list of requests was expected"
        raise ValueError(msg)
    return requests


def save(folder: Path, requests: list[dict[str, Any]]) -> None:
    """Keep the pinned requests; only this user can read them, since a request's headers may hold a key.

    Raises:
        OSError: The folder can't be written.
    """
    fresh = folder / f"{FILE_NAME}.new"
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(requests, file, indent=1)
    fresh.replace(folder / FILE_NAME)
