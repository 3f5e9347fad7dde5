"""What hotloop keeps of a project on this machine: told, handed out, removed. Nothing of it leaves the machine by itself."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sqlite3
from typing import TYPE_CHECKING, Any

from hotloop.devloop import schema
from hotloop.devloop.history import FILE
from hotloop.errors import HotloopError
from hotloop.frozen import frozen
from hotloop.remote_runner.processes import is_alive

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hotloop.devloop.history import History

LOGS = "logs"
_FILES = {
    "index.json": "what the files of the project were at the last sync: paths, sizes, digests",
    "pins.json": "the pinned requests, with their bodies, until you unpin them",
    ".gitignore": "keeps this folder out of git",
    LOGS: "all that the last sessions said, what your app printed among it",
}
_HISTORY = "the measured loop: the tables below"


@frozen
class Stored:
    """A file or folder, or a table of the history.

    Attributes:
        name: Its name.
        holds: What is in it.
        size_bytes: Of a file or folder; None for a table.
        num_rows: Of a table; None for a file.
        oldest_s: Of a table's rows, seconds since 1970; None if there is none, or they have no time.
        newest_s: Likewise.
    """

    name: str
    holds: str
    size_bytes: int | None = None
    num_rows: int | None = None
    oldest_s: float | None = None
    newest_s: float | None = None


def files(folder: Path) -> list[Stored]:
    """List what is in a project's ``.hotloop`` folder."""
    if not folder.is_dir():
        return []
    found: dict[str, Stored] = {}
    for entry in sorted(folder.iterdir()):
        is_history = entry.name.startswith(FILE)
        name = FILE if is_history else entry.name
        holds = _HISTORY if is_history else _FILES.get(name, "")
        size = _size_of(entry) + ((known.size_bytes or 0) if (known := found.get(name)) else 0)
        found[name] = Stored(name, holds, size)
    return list(found.values())


def _size_of(entry: Path) -> int:
    total = 0
    for path in [entry, *entry.rglob("*")] if entry.is_dir() else [entry]:
        with contextlib.suppress(OSError):
            total += path.lstat().st_size if not path.is_dir() else 0
    return total


def tables(history: History) -> list[Stored]:
    """List the tables with what they hold."""
    return [_table(history.connection, name) for name in _names(history.connection)]


def _names(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid").fetchall()
    return [name for (name,) in rows if not name.startswith("sqlite_")]


def _about(name: str) -> schema.Table:
    return schema.TABLES.get(name, schema.Table("", "written by another version of hotloop"))


def _table(connection: sqlite3.Connection, name: str) -> Stored:
    about = _about(name)
    when = f"min(nullif({about.moment}, 0)), max(nullif({about.moment}, 0))" if about.moment else "NULL, NULL"
    count, oldest_s, newest_s = connection.execute(f"SELECT count(*), {when} FROM {name}").fetchone()  # noqa: S608  names of ours
    return Stored(name, about.holds, num_rows=count, oldest_s=oldest_s, newest_s=newest_s)


# --- handing out


def as_json(history: History) -> str:
    """Give all rows of all tables as one JSON object."""
    data = {name: list(_rows(history.connection, name)) for name in _names(history.connection)}
    return json.dumps({"schema": schema.SCHEMA, **data}, indent=1)


def as_csv(history: History) -> dict[str, str]:
    """Give each table as CSV with a head, by name."""
    found: dict[str, str] = {}
    for name in _names(history.connection):
        rows = list(_rows(history.connection, name))
        if rows:
            text = io.StringIO()
            writer = csv.DictWriter(text, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
            found[name] = text.getvalue()
    return found


def _rows(connection: sqlite3.Connection, name: str) -> Iterable[dict[str, Any]]:
    about = _about(name)
    cursor = connection.execute(f"SELECT * FROM {name}")  # noqa: S608  names of ours
    columns = [column[0] for column in cursor.description]
    for row in cursor:
        values = dict(zip(columns, row, strict=True))
        if about.grain_s:
            values[about.moment] = values[about.moment] // about.grain_s * about.grain_s
        yield values


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read, and never over another.

    Raises:
        HotloopError: It is there, or can't be written.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8", newline="") as file:
            file.write(text)
    except FileExistsError as error:
        msg = f"{path} is there already"
        raise HotloopError(msg, hint="name another file") from error
    except OSError as error:
        msg = f"{path} can't be written: {error.strerror}"
        raise HotloopError(msg, hint="name another file") from error


# --- removing


def delete(history: History, before_s: float | None = None) -> int:
    """Remove rows for good: their bytes are overwritten, the file is rewritten, its journal emptied.

    Args:
        history: Of the project.
        before_s: Only what is older, seconds since 1970; None for all. Rows that have no time go only with all.

    Returns:
        How many rows were removed.

    Raises:
        HotloopError: Another program reads the file.
    """
    connection = history.connection
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("BEGIN IMMEDIATE")
    try:
        count = sum(_delete_from(connection, name, before_s) for name in _names(connection))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    try:
        connection.execute("VACUUM")
        (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError as error:
        raise _still_there() from error
    if is_busy:
        raise _still_there()
    return count


def delete_logs(folder: Path, before_s: float | None = None) -> int:
    """Remove the logs of sessions; that of one that runs is emptied.

    Args:
        folder: The project's ``.hotloop``.
        before_s: Only those that were written to last before, seconds since 1970; None for all.

    Returns:
        How many were removed or emptied.

    Raises:
        OSError: One can't be.
    """
    found = [log for log in (folder / LOGS).glob("*.log") if before_s is None or log.stat().st_mtime < before_s]
    for log in found:
        os.truncate(log, 0)
        if not _is_written(log):
            log.unlink()
    return len(found)


def _is_written(log: Path) -> bool:
    """Whether the process that a log is named for still runs: it appends."""
    pid = log.name.partition(".")[0].rpartition("-")[2]
    return pid.isdigit() and is_alive(int(pid))


def _delete_from(connection: sqlite3.Connection, name: str, before_s: float | None) -> int:
    moment = _about(name).moment
    if before_s is not None and not moment:
        return 0
    condition = f"{moment} < ?" if before_s is not None else "1"
    values = (before_s,) if before_s is not None else ()
    count = connection.execute(f"DELETE FROM {name} WHERE {condition}", values).rowcount  # noqa: S608  names of ours
    if name == "milestone" and count:
        schema.forget_first_use(connection)
    return count


def _still_there() -> HotloopError:
    msg = "the rows are deleted, but another program reads the file, so their bytes may still be in it"
    return HotloopError(msg, hint="end it and run dev data delete once more")
