"""The iterations and benches of a project, kept in its own SQLite file. A broken file is said once and never stops the loop.

The tables hold times, names and places; no code, no outputs and no exception messages.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from hotloop.devloop.metrics import Trip

if TYPE_CHECKING:
    from pathlib import Path

    from hotloop.events import Iteration

SCHEMA = 2
BUSY_TIMEOUT_S = 0.2  # the loop waits for this; another reader has the file for microseconds

_TABLES = """
CREATE TABLE IF NOT EXISTS iteration (
  id INTEGER PRIMARY KEY,
  session TEXT NOT NULL,
  number INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  saved_at_s REAL NOT NULL,
  is_save_estimated INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  generation INTEGER,
  num_files INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL,
  feedback_s REAL NOT NULL,
  ready_s REAL,
  phases_s TEXT NOT NULL,
  start TEXT NOT NULL,
  models TEXT NOT NULL,
  probes TEXT NOT NULL,
  error_type TEXT NOT NULL,
  error_file TEXT NOT NULL,
  error_line INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS iteration_saved ON iteration (saved_at_s);
CREATE TABLE IF NOT EXISTS bench (
  id INTEGER PRIMARY KEY,
  session TEXT NOT NULL,
  generation INTEGER NOT NULL,
  endpoint TEXT NOT NULL,
  ended_at_s REAL NOT NULL,
  num_requests INTEGER NOT NULL,
  num_errors INTEGER NOT NULL,
  requests_per_s REAL NOT NULL,
  p50_s REAL NOT NULL,
  p99_s REAL NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Bench:
    """What is kept of a bench.

    Attributes:
        session: Names the run of `dev serve` that it belongs to.
        endpoint: Its path.
        ended_at_s: Seconds since 1970.
    """

    session: str
    generation: int
    endpoint: str
    ended_at_s: float
    num_requests: int
    num_errors: int
    requests_per_s: float
    p50_s: float
    p99_s: float


def make_folder(project: Path) -> Path:
    """Make the project's ``.hotloop`` folder, which git ignores.

    Raises:
        OSError: The project can't be written.
    """
    folder = project / ".hotloop"
    folder.mkdir(mode=0o700, exist_ok=True)
    rules = folder / ".gitignore"
    if not rules.exists():
        rules.write_text("*\n")
    return folder


class History:
    """Rows of iterations. Methods raise `sqlite3.Error` or `OSError`; the caller says it once and goes on."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it for this user alone."""
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
        self._connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            self._prepare()
        except sqlite3.Error:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA:
            msg = f"written by a newer hotloop (format {version}, this one knows {SCHEMA})"
            raise sqlite3.DatabaseError(msg)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        if version < SCHEMA:
            self._connection.executescript(f"{_TABLES} PRAGMA user_version = {SCHEMA};")

    def add(self, session: str, iteration: Iteration) -> None:
        """Append an iteration of a session."""
        self._insert("iteration", _row(session, iteration))

    def add_bench(self, bench: Bench) -> None:
        """Append a bench."""
        self._insert("bench", asdict(bench))

    def _insert(self, table: str, row: dict[str, Any]) -> None:
        marks = ", ".join("?" * len(row))
        self._connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))  # noqa: S608  names of ours

    def trips(self, since_s: float = 0.0) -> list[Trip]:
        """Give the iterations saved since a moment (seconds since 1970), oldest first."""
        self._connection.row_factory = sqlite3.Row
        rows = self._connection.execute("SELECT * FROM iteration WHERE saved_at_s >= ? ORDER BY id", (since_s,))
        return [_trip(dict(row)) for row in rows]

    def benches(self, since_s: float = 0.0) -> list[Bench]:
        """Give the benches that ended since a moment (seconds since 1970), oldest first."""
        names = ", ".join(field.name for field in fields(Bench))
        rows = self._connection.execute(f"SELECT {names} FROM bench WHERE ended_at_s >= ? ORDER BY id", (since_s,))  # noqa: S608  names of ours
        return [Bench(*row) for row in rows]

    def close(self) -> None:
        """Let go of the file."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()


def trip_of(session: str, iteration: Iteration) -> Trip:
    """Take from an iteration what the metrics need."""
    row = _row(session, iteration)
    return _trip(row)


def _row(session: str, iteration: Iteration) -> dict[str, Any]:
    where = iteration.problem.where if iteration.problem is not None else None
    return {
        "session": session,
        "number": iteration.number,
        "outcome": iteration.outcome,
        "saved_at_s": iteration.saved_at_s,
        "is_save_estimated": int(iteration.is_save_estimated),
        "revision": iteration.revision,
        "generation": iteration.generation,
        "num_files": len(iteration.paths),
        "size_bytes": iteration.size_bytes,
        "feedback_s": iteration.feedback_s,
        "ready_s": iteration.ready_s,
        "phases_s": json.dumps(iteration.phases_s),
        "start": iteration.start,
        "models": json.dumps([[m.name, m.action, m.home, m.took_s, m.size_bytes] for m in iteration.models]),
        "probes": json.dumps([[p.name, p.is_ok, p.is_changed, p.took_s, p.compute_s] for p in iteration.probes]),
        "error_type": iteration.problem.type if iteration.problem is not None else "",
        "error_file": where.file if where is not None else "",
        "error_line": where.line if where is not None else 0,
    }


def _trip(row: dict[str, Any]) -> Trip:
    actions = [model[1] for model in json.loads(row["models"])]
    return Trip(
        session=row["session"],
        number=row["number"],
        outcome=row["outcome"],
        saved_at_s=row["saved_at_s"],
        feedback_s=row["feedback_s"],
        ready_s=row["ready_s"],
        phases_s=json.loads(row["phases_s"]),
        start=row["start"],
        num_kept=actions.count("kept"),
        num_loaded=actions.count("loaded"),
        error_type=row["error_type"],
        error_file=row["error_file"],
        error_line=row["error_line"],
    )
