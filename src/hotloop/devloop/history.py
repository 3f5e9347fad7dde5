"""What is kept of a project's iterations and of all around them, in its own SQLite file.

A broken file is said once and never stops the loop. The tables hold times, names and places; no code, no outputs and no
messages.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from dataclasses import asdict, astuple, fields
from typing import TYPE_CHECKING, Any, TypeVar

from hotloop.devloop import schema, why
from hotloop.devloop.metrics import Build, Cost, Import, LinkLoss, Model, Moment, Probe, Records, Session, TestRun, Trip
from hotloop.errors import HotloopError
from hotloop.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from hotloop.events import Iteration

BUSY_TIMEOUT_S = 0.2  # the loop waits for this; another reader has the file for microseconds
FILE = "history.db"
MINUTE_S = 60

_Made = TypeVar("_Made")


@frozen
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


@frozen
class ClockReading:
    """What was known of the runner's clock at an iteration's end, seconds.

    Attributes:
        offset_s: That clock minus this one.
        error_s: How far that may be off.
        drift_s: How far it moved since the iteration before; 0 if that is noise.
    """

    offset_s: float = 0.0
    error_s: float = 0.0
    drift_s: float = 0.0


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
    """The tables. Methods raise `sqlite3.Error` or `OSError`; the caller says it once and goes on."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it for this user alone."""
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
        self.connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = NORMAL")
            schema.bring_up_to_date(self.connection)
        except sqlite3.Error:
            self.connection.close()
            raise

    # --- what happened

    def add(self, session: str, iteration: Iteration, clock: ClockReading | None = None, *, start: str = "") -> None:
        """Append an iteration of a session.

        Args:
            session: Names it.
            iteration: What is kept of it.
            clock: What is known of the runner's clock.
            start: What it was started from, where the iteration itself does not know: ``resumed``.
        """
        row = _row(session, iteration, clock or ClockReading())
        self._insert("iteration", {**row, "start": start or row["start"]})

    def add_bench(self, bench: Bench) -> None:
        """Append a bench."""
        self._insert("bench", asdict(bench))

    def begin(self, session: Session) -> None:
        """Note that a session began."""
        self._insert("session", asdict(session))

    def end(self, session: str, at_s: float, how: str) -> None:
        """Note how a session ended."""
        self.connection.execute("UPDATE session SET ended_at_s = ?, ended = ? WHERE id = ?", (at_s, how, session))

    def add_moment(self, at_s: float, what: str) -> None:
        """Note that the user did something: of its time only the minute is kept."""
        minute_s = int(at_s // MINUTE_S) * MINUTE_S
        self.connection.execute("INSERT OR IGNORE INTO activity VALUES (?, ?)", (minute_s, what))

    def add_loss(self, loss: LinkLoss) -> None:
        """Note that the runner did not answer for a while."""
        self._insert("link_loss", asdict(loss))

    def add_build(self, build: Build) -> None:
        """Note that an environment was made, or could not be."""
        self._insert("environment", asdict(build))

    def add_test_run(self, run: TestRun) -> None:
        """Append a run of the tests."""
        self._insert("test_run", {**asdict(run), "places": json.dumps(run.places)})

    def keep_cost(self, cost: Cost) -> None:
        """Note what a session has cost so far; a figure that is not known any more stays as it was."""
        self.connection.execute(
            """
            INSERT INTO cost VALUES (:session, :at_s, :source, :total, :idle, :per_1k_requests, :per_1m_items)
            ON CONFLICT (session) DO UPDATE SET at_s = excluded.at_s, source = excluded.source, total = excluded.total,
              idle = excluded.idle, per_1k_requests = COALESCE(excluded.per_1k_requests, per_1k_requests),
              per_1m_items = COALESCE(excluded.per_1m_items, per_1m_items)
            """,
            asdict(cost),
        )

    def reach(self, milestone: str, at_s: float) -> None:
        """Note when the project first came so far; later times are ignored."""
        self.connection.execute("INSERT OR IGNORE INTO milestone VALUES (?, ?)", (milestone, at_s))

    def _insert(self, table: str, row: dict[str, Any]) -> None:
        marks = ", ".join("?" * len(row))
        self.connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))  # noqa: S608  names of ours

    # --- what is known of it

    def trips(self, since_s: float = 0.0) -> list[Trip]:
        """Give the iterations saved since a moment (seconds since 1970), oldest first."""
        tested = self._tested(since_s)
        rows = self._rows("SELECT * FROM iteration WHERE saved_at_s >= ? ORDER BY id", since_s)
        return [_trip({**row, **tested.get((row["session"], row["number"]), {})}) for row in rows]

    def _tested(self, since_s: float) -> dict[tuple[str, int], dict[str, Any]]:
        """The newest outcome of the tests of each iteration."""
        rows = self._rows("SELECT * FROM test_run WHERE ended_at_s >= ? ORDER BY id", since_s)
        return {
            (row["session"], row["number"]): {"tests": row["outcome"], "tested_at_s": row["ended_at_s"]} for row in rows
        }

    def records(self, since_s: float = 0.0) -> Records:
        """Give what else is known since a moment (seconds since 1970), and the milestones."""
        marks = {
            row["name"]: row["at_s"] for row in self._rows("SELECT name, at_s FROM milestone WHERE at_s >= ?", 0.0)
        }
        return Records(
            sessions=self._since("session", since_s, lambda row: Session(**row)),
            moments=self._since("activity", since_s, lambda row: Moment(**row)),
            losses=self._since("link_loss", since_s, lambda row: LinkLoss(**row)),
            builds=self._since("environment", since_s, _build),
            tests=self._since("test_run", since_s, _test_run),
            costs=self._since("cost", since_s, lambda row: Cost(**row)),
            milestones=marks if "earlier" not in marks else {},
        )

    def benches(self, since_s: float = 0.0) -> list[Bench]:
        """Give the benches that ended since a moment (seconds since 1970), oldest first."""
        names = ", ".join(field.name for field in fields(Bench))
        rows = self._rows(f"SELECT {names} FROM bench WHERE ended_at_s >= ? ORDER BY id", since_s)  # noqa: S608  names of ours
        return [Bench(**row) for row in rows]

    def _since(self, table: str, since_s: float, made: Callable[[dict[str, Any]], _Made]) -> tuple[_Made, ...]:
        moment = schema.TABLES[table].moment
        rows = self._rows(f"SELECT * FROM {table} WHERE {moment} >= ? ORDER BY {moment}", since_s)  # noqa: S608  names of ours
        return tuple(
            made({name: value for name, value in row.items() if name != "id" or table == "session"}) for row in rows
        )

    def _rows(self, query: str, since_s: float) -> Iterator[dict[str, Any]]:
        cursor = self.connection.execute(query, (since_s,))
        names = [column[0] for column in cursor.description]
        return (dict(zip(names, row, strict=True)) for row in cursor)

    def last_runner(self) -> str:
        """Name where the project was served last, or is served now; empty if it never was.

        A session that ended without anything to show does not count: its runner may not even be one.
        """
        query = """
            SELECT runner FROM session
            WHERE ended_at_s IS NULL OR EXISTS (SELECT 1 FROM iteration WHERE iteration.session = session.id)
            ORDER BY began_at_s DESC LIMIT 1
        """
        found = self.connection.execute(query).fetchone()
        return found[0] if found else ""

    def close(self) -> None:
        """Let go of the file."""
        with contextlib.suppress(sqlite3.Error):
            self.connection.close()


@contextlib.contextmanager
def reading(project: Path) -> Generator[History | None]:
    """Give a project's history while the block runs; None if it has none.

    Raises:
        HotloopError: It can't be read.
    """
    file = project / ".hotloop" / FILE
    if not file.exists():
        yield None
        return
    try:
        with contextlib.closing(History(file)) as history:
            yield history
    except (sqlite3.Error, OSError) as error:
        msg = f"{file} can't be read: {error}"
        raise HotloopError(msg, hint="move the file away; the next dev serve begins a new one") from error


def note_first_use(project: Path, at_s: float) -> None:
    """Note that a command of hotloop's made or used a project, if it was the first (seconds since 1970).

    What can't be noted is no reason to fail.
    """
    with contextlib.suppress(sqlite3.Error, OSError):
        history = History(make_folder(project) / FILE)
        with contextlib.closing(history):
            history.reach("began", at_s)


def trip_of(session: str, iteration: Iteration) -> Trip:
    """Take from an iteration what the metrics need."""
    return _trip(_row(session, iteration, ClockReading()))


def _row(session: str, iteration: Iteration, clock: ClockReading) -> dict[str, Any]:
    problem = iteration.problem
    where = problem.where if problem is not None else None
    reason = why.of_iteration(iteration)
    models = [Model(m.name, m.action, m.home, m.took_s, m.size_bytes, why.of_model(m).text) for m in iteration.models]
    probes = [Probe(p.name, p.is_ok, p.is_changed, p.took_s, p.compute_s) for p in iteration.probes]
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
        "models": json.dumps([astuple(model) for model in models]),
        "probes": json.dumps([astuple(probe) for probe in probes]),
        "error_type": problem.type if problem is not None else "",
        "error_file": where.file if where is not None else "",
        "error_line": where.line if where is not None else 0,
        "cause": iteration.cause,
        "asked": iteration.asked,
        "why_code": reason.code,
        "why": reason.text,
        "expected_s": iteration.expected_s,
        "offset_s": clock.offset_s,
        "offset_error_s": clock.error_s,
        "drift_s": clock.drift_s,
        "imports": json.dumps([astuple(each) for each in iteration.imports]),
        "import_bytes": iteration.import_bytes,
    }


_OF_TRIP = frozenset(field.name for field in fields(Trip))


def _trip(row: dict[str, Any]) -> Trip:
    values = {name: value for name, value in row.items() if name in _OF_TRIP}
    values["is_save_estimated"] = bool(row["is_save_estimated"])
    values["phases_s"] = json.loads(row["phases_s"])
    values["models"] = tuple(Model(*model) for model in json.loads(row["models"]))
    values["probes"] = tuple(Probe(*probe) for probe in json.loads(row["probes"]))
    values["imports"] = tuple(Import(*each) for each in json.loads(row["imports"]))
    return Trip(**values)


def _build(row: dict[str, Any]) -> Build:
    flags: dict[str, Any] = {"is_ok": bool(row["is_ok"]), "was_cached": bool(row["was_cached"])}
    return Build(**{**row, **flags})


def _test_run(row: dict[str, Any]) -> TestRun:
    places = tuple((file, line, kind) for file, line, kind in json.loads(row["places"]))
    values: dict[str, Any] = {**row, "places": places}
    return TestRun(**values)
