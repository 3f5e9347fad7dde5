"""The tables of a project's history, what each is for, and how a file of an older format gets them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hotloop.frozen import frozen

if TYPE_CHECKING:
    import sqlite3

SCHEMA = 4


@frozen
class Table:
    """One table.

    Attributes:
        moment: The column that says when, seconds since 1970; empty if a row has no time.
        holds: What is in it, for people.
        grain_s: What is exported says no more than when within this many seconds it was.
    """

    moment: str
    holds: str
    grain_s: int = 0


WEEK_S = 7 * 86400
TABLES = {
    "iteration": Table(
        "saved_at_s", "each save: its times, phases, models, probes; of an error its type, file and line"
    ),
    "session": Table("began_at_s", "each run of dev serve: begin, end, runner"),
    "activity": Table("at_s", "the minutes in which you sent a request or pressed a key"),
    "link_loss": Table("lost_at_s", "when the runner did not answer, and for how long"),
    "environment": Table("ended_at_s", "each environment that was made: how long it took, how many packages"),
    "test_run": Table("ended_at_s", "each run of the tests: how long, how many passed and failed, where"),
    "milestone": Table("at_s", "when the project was used first, and how far it came when"),
    "bench": Table("ended_at_s", "what the benches came to"),
    "cost": Table("at_s", "what each session cost, as far as the price of its runner is known"),
    "pulse": Table("at_s", "your answers to the weekly question", WEEK_S),
    "pulse_consent": Table("", "whether you want to be asked"),
}

_ITERATION_OF_2 = """
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
)
"""
_COLUMNS_OF_3 = (
    "cause TEXT NOT NULL DEFAULT 'code'",
    "why_code TEXT NOT NULL DEFAULT ''",
    "why TEXT NOT NULL DEFAULT ''",
    "expected_s REAL",
    "offset_s REAL NOT NULL DEFAULT 0",  # the runner's clock minus this one's
    "offset_error_s REAL NOT NULL DEFAULT 0",
    "drift_s REAL NOT NULL DEFAULT 0",
    "imports TEXT NOT NULL DEFAULT '[]'",
    "import_bytes INTEGER NOT NULL DEFAULT 0",
    "asked TEXT NOT NULL DEFAULT ''",
)
_OTHERS = (
    "CREATE INDEX IF NOT EXISTS iteration_saved ON iteration (saved_at_s)",
    """
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
)
""",
    """
CREATE TABLE IF NOT EXISTS session (
  id TEXT PRIMARY KEY,
  began_at_s REAL NOT NULL,
  runner TEXT NOT NULL,
  ended_at_s REAL,
  ended TEXT NOT NULL DEFAULT ''
)
""",
    "CREATE TABLE IF NOT EXISTS activity (at_s INTEGER NOT NULL, what TEXT NOT NULL, PRIMARY KEY (at_s, what)) WITHOUT ROWID",
    """
CREATE TABLE IF NOT EXISTS link_loss (
  id INTEGER PRIMARY KEY,
  session TEXT NOT NULL,
  lost_at_s REAL NOT NULL,
  lasted_s REAL NOT NULL
)
""",
    """
CREATE TABLE IF NOT EXISTS environment (
  id INTEGER PRIMARY KEY,
  session TEXT NOT NULL,
  ended_at_s REAL NOT NULL,
  took_s REAL NOT NULL,
  is_ok INTEGER NOT NULL,
  was_cached INTEGER NOT NULL,
  num_packages INTEGER NOT NULL
)
""",
    """
CREATE TABLE IF NOT EXISTS test_run (
  id INTEGER PRIMARY KEY,
  session TEXT NOT NULL,
  number INTEGER NOT NULL,
  ended_at_s REAL NOT NULL,
  outcome TEXT NOT NULL,
  took_s REAL NOT NULL,
  num_passed INTEGER,
  num_failed INTEGER,
  places TEXT NOT NULL
)
""",
    "CREATE INDEX IF NOT EXISTS test_run_of ON test_run (session, number)",
    """
CREATE TABLE IF NOT EXISTS cost (
  session TEXT PRIMARY KEY,
  at_s REAL NOT NULL,
  source TEXT NOT NULL,
  total REAL NOT NULL,
  idle REAL NOT NULL,
  per_1k_requests REAL,
  per_1m_items REAL
)
""",
    "CREATE TABLE IF NOT EXISTS milestone (name TEXT PRIMARY KEY, at_s REAL NOT NULL) WITHOUT ROWID",
)


def bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Make what is missing, in one transaction; no row is lost.

    Raises:
        sqlite3.Error: The file was written by a newer hotloop, or can't be written.
    """
    import sqlite3

    version = _version(connection)
    if version > SCHEMA:
        msg = f"written by a newer hotloop (format {version}, this one knows {SCHEMA})"
        raise sqlite3.DatabaseError(msg)
    if version == SCHEMA:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _version(connection) < SCHEMA:  # nobody else did it meanwhile
            _migrate(connection)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def _migrate(connection: sqlite3.Connection) -> None:
    if _version(connection) < 3:
        _from_2(connection)
    else:
        connection.execute("ALTER TABLE test_run DROP COLUMN is_partial")  # it always was 0
    connection.execute(f"PRAGMA user_version = {SCHEMA}")


def _from_2(connection: sqlite3.Connection) -> None:
    """Make what a new file and one of the formats 1 and 2 lack."""
    connection.execute(_ITERATION_OF_2)
    for column in _COLUMNS_OF_3:
        connection.execute(f"ALTER TABLE iteration ADD COLUMN {column}")
    for statement in _OTHERS:
        connection.execute(statement)
    _name_causes(connection)
    if connection.execute("SELECT 1 FROM iteration LIMIT 1").fetchone() is not None:
        forget_first_use(connection)  # it was before there was a place to note it


def _name_causes(connection: sqlite3.Connection) -> None:
    rows = connection.execute("SELECT id, number, phases_s, models FROM iteration").fetchall()
    for row_id, number, phases_s, models in rows:
        if not number:
            cause = "cold"
        elif "environment" in json.loads(phases_s):
            cause = "environment"
        else:
            cause = "model" if any(model[1] == "loaded" for model in json.loads(models)) else "code"
        connection.execute("UPDATE iteration SET cause = ? WHERE id = ?", (cause, row_id))


def forget_first_use(connection: sqlite3.Connection) -> None:
    """Note that the project was used before: what comes now is not its first use."""
    connection.execute("DELETE FROM milestone")
    connection.execute("INSERT INTO milestone VALUES ('earlier', 0)")
