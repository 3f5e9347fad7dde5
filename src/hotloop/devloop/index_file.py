"""An index between two runs: a file of entries and of what told that they changed."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from hotloop.changes import Link, MakeDirectory, Put

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hotloop.devloop.disk import Signature
    from hotloop.remote_runner.tree import Entry

RACY_NS = 50_000_000  # a write this soon after another may leave the same mtime
_FORMAT = 1


def read(path: Path, root: Path) -> list[tuple[Entry, Signature | None]]:
    """What an earlier run knew of a project's folder; nothing if it can't be read."""
    try:
        data = json.loads(path.read_text())
        if data["format"] != _FORMAT or data["root"] != os.fspath(root):
            return []
        return [(_from_json(entry), tuple(known) if known else None) for entry, known in data["entries"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def write(path: Path, root: Path, known: Iterable[tuple[Entry, Signature | None]]) -> None:
    """Keep what is known for the next run."""
    now_ns = time.time_ns()
    entries = [[_to_json(entry), _unless_racy(signature, now_ns)] for entry, signature in known]
    path.parent.mkdir(exist_ok=True)  # not the project's folder, which may be gone
    fresh = path.with_suffix(".new")
    data = {"format": _FORMAT, "root": os.fspath(root), "entries": entries}
    fresh.write_text(json.dumps(data, separators=(",", ":")))
    fresh.replace(path)


def _unless_racy(signature: Signature | None, now_ns: int) -> Signature | None:
    return signature if signature is not None and now_ns - signature[1] > RACY_NS else None


_KINDS: dict[str, type[Put | Link | MakeDirectory]] = {"put": Put, "link": Link, "directory": MakeDirectory}


def _to_json(entry: Entry) -> list[object]:
    match entry:
        case Put():
            return ["put", entry.path, entry.digest, entry.size_bytes, entry.executable]
        case Link():
            return ["link", entry.path, entry.target]
        case MakeDirectory():
            return ["directory", entry.path]


def _from_json(data: list[object]) -> Entry:
    kind, *fields = data
    return _KINDS[str(kind)](*fields)  # type: ignore[arg-type]  # a wrong file raises, and is not used
