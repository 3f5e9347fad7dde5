"""What a workspace holds, kept on disk: a snapshot of its tree, and one line a changeset that is also its redo record.

A line is written before the first rename and closed by a ``done`` line after the last one. A process that dies in
between leaves a line that is not closed, which the next start does again; a line cut short means that nothing was
renamed yet. Nothing is flushed to the device: after a crash of the machine the first sync finds what differs.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hotloop.changes import Delete, Link, MakeDirectory, Operation, Put
from hotloop.remote_runner.tree import Entry, Tree

if TYPE_CHECKING:
    from pathlib import Path

_MAX_LINES = 4000

Signature = tuple[int, int, int]  # size in bytes, mtime in nanoseconds, inode


@dataclass(slots=True)
class Record:
    """One changeset as it is committed.

    Attributes:
        staged: By path, the name of the file in the stage that becomes it.
        signatures: By path, what ``lstat`` says of the file once it is in place.
    """

    sequence: int
    revision: int
    operations: tuple[Operation, ...]
    staged: dict[str, str] = field(default_factory=dict[str, str])
    signatures: dict[str, Signature] = field(default_factory=dict[str, Signature])


class Ledger:
    """The state of one workspace: numbers, tree, and what each file looked like when it was put there."""

    def __init__(self, folder: Path) -> None:
        """Read what is on disk. `pending` is the changeset that a crash cut short, if one did."""
        self._snapshot_path = folder / "tree.json"
        self._log_path = folder / "changes.jsonl"
        self.sequence = 0
        self.revision = 0
        self.tree = Tree()
        self.signatures: dict[str, Signature] = {}
        self.pending: Record | None = None
        self._num_lines = 0
        self._read_snapshot()
        self._read_log()
        self._fd = os.open(self._log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._end_cut_line()

    def close(self) -> None:
        """Close the log."""
        os.close(self._fd)

    def begin(self, record: Record) -> None:
        """Write the redo record: from here on the changeset will be done, now or at the next start."""
        self._write(_record_to_json(record))

    def finish(self, record: Record) -> None:
        """Note that all of it is in place."""
        self._write({"done": record.revision})
        self._take(record)
        self.pending = None
        if self._num_lines > _MAX_LINES:
            with contextlib.suppress(OSError):  # no room for a snapshot: the log goes on
                self.compact()

    def compact(self) -> None:
        """Replace the log by a snapshot of the tree."""
        data = {
            "sequence": self.sequence,
            "revision": self.revision,
            "entries": [[*_to_json(entry), self.signatures.get(entry.path)] for entry in self.tree],
        }
        fresh = self._snapshot_path.with_suffix(".new")
        fresh.write_text(json.dumps(data, separators=(",", ":")))
        fresh.replace(self._snapshot_path)
        os.ftruncate(self._fd, 0)
        self._num_lines = 0

    def assume(self, record: Record) -> None:
        """Count what a changeset would have left as known, when only a part of it is in place."""
        self.tree.apply(record.operations)
        self.signatures.update(record.signatures)

    def _take(self, record: Record) -> None:
        self.tree.apply(record.operations)
        for operation in record.operations:
            self.signatures.pop(operation.path, None)
        self.signatures.update(record.signatures)
        self.sequence, self.revision = record.sequence, record.revision

    def _write(self, line: dict[str, Any]) -> None:
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        size_bytes = os.fstat(self._fd).st_size
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:  # no room: what comes next must not be taken for the rest of this line
            os.ftruncate(self._fd, size_bytes)
            raise
        self._num_lines += 1

    def _end_cut_line(self) -> None:
        size = os.fstat(self._fd).st_size
        if size and self._log_path.read_bytes()[-1:] != b"\n":
            os.write(self._fd, b"\n")

    def _read_snapshot(self) -> None:
        if not self._snapshot_path.exists():
            return
        data = json.loads(self._snapshot_path.read_text())
        self.sequence, self.revision = data["sequence"], data["revision"]
        entries: list[Entry] = []
        for *encoded, signature in data["entries"]:
            entry = _from_json(encoded)
            entries.append(entry)  # type: ignore[arg-type]  # a snapshot holds no deletion
            if signature:
                self.signatures[entry.path] = tuple(signature)
        self.tree = Tree(entries)

    def _read_log(self) -> None:
        if not self._log_path.exists():
            return
        for line in self._log_path.read_bytes().splitlines():
            self._num_lines += 1
            try:
                data = json.loads(line)
            except ValueError:  # cut short by a crash, before anything was renamed
                continue
            self._read_line(data)

    def _read_line(self, data: dict[str, Any]) -> None:
        if "done" not in data:
            self.pending = _record_from_json(data)
            if self.pending.sequence <= self.sequence:  # older than the snapshot
                self.pending = None
        elif self.pending is not None and self.pending.revision == data["done"]:
            self._take(self.pending)
            self.pending = None


def _record_to_json(record: Record) -> dict[str, Any]:
    return {
        "sequence": record.sequence,
        "revision": record.revision,
        "operations": [_to_json(operation) for operation in record.operations],
        "staged": record.staged,
        "signatures": record.signatures,
    }


def _record_from_json(data: dict[str, Any]) -> Record:
    return Record(
        sequence=data["sequence"],
        revision=data["revision"],
        operations=tuple(_from_json(item) for item in data["operations"]),
        staged=data["staged"],
        signatures={path: tuple(signature) for path, signature in data["signatures"].items()},
    )


def _to_json(operation: Operation) -> list[Any]:
    match operation:
        case Put():
            return ["put", operation.path, operation.digest, operation.size_bytes, operation.executable]
        case Link():
            return ["link", operation.path, operation.target]
        case MakeDirectory():
            return ["directory", operation.path]
        case Delete():
            return ["delete", operation.path]


_KINDS: dict[str, type[Operation]] = {"put": Put, "link": Link, "directory": MakeDirectory, "delete": Delete}


def _from_json(data: list[Any]) -> Operation:
    kind, *fields = data
    return _KINDS[kind](*fields)
