"""What is stored can be seen, handed out and removed for good."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import stat

import pytest
from tests.devloop.test_history import iteration

from hotloop.devloop import data, history
from hotloop.devloop.metrics import Session
from hotloop.devloop.recorder import Recorder
from hotloop.errors import HotloopError

WEEK_S = 7 * 86400


@pytest.fixture
def folder(tmp_path):
    return history.make_folder(tmp_path)


@pytest.fixture
def kept(folder):
    """Two iterations at 1,000 s and 2,000 s, and an answer to the weekly question."""
    opened = history.History(folder / "history.db")
    Recorder(opened, Session("old", 900.0, "local"))
    opened.add("old", iteration(number=1, saved_at_s=1000.0))
    opened.add("new", iteration(number=1, saved_at_s=2000.0))
    opened.connection.execute("CREATE TABLE pulse (id INTEGER PRIMARY KEY, at_s REAL, item TEXT, answer INTEGER)")
    opened.connection.execute("INSERT INTO pulse VALUES (1, ?, 'load', 4)", (3 * WEEK_S + 12345.6,))
    yield opened
    opened.close()


def test_each_file_and_table_says_what_it_is(kept, folder):
    (folder / "pins.json").write_text("{}")

    files = {each.name: each for each in data.files(folder)}
    tables = {each.name: each for each in data.tables(kept)}

    assert files["history.db"].size_bytes > 10_000  # its journal is part of it
    assert all(each.holds for each in [*files.values(), *tables.values()])
    assert (tables["iteration"].num_rows, tables["iteration"].oldest_s, tables["iteration"].newest_s) == (
        2,
        1000.0,
        2000.0,
    )
    assert tables["bench"].oldest_s is None


def test_everything_is_handed_out_and_answers_by_the_week(kept):
    found = json.loads(data.as_json(kept))
    rows = list(csv.DictReader(data.as_csv(kept)["iteration"].splitlines()))

    assert [row["session"] for row in found["iteration"]] == ["old", "new"]
    assert found["pulse"] == [{"id": 1, "at_s": 3 * WEEK_S, "item": "load", "answer": 4}]
    assert [(row["session"], row["feedback_s"]) for row in rows] == [("old", "0.5"), ("new", "0.5")]


def test_what_is_handed_out_is_the_users_alone_and_overwrites_nothing(tmp_path):
    data.write_private(tmp_path / "out.json", "{}")

    assert stat.S_IMODE((tmp_path / "out.json").stat().st_mode) == 0o600
    with pytest.raises(HotloopError, match="is there already"):
        data.write_private(tmp_path / "out.json", "other")
    with pytest.raises(HotloopError, match="can't be written"):
        data.write_private(tmp_path / "none" / "out.json", "{}")
    assert (tmp_path / "out.json").read_text() == "{}"


def bytes_of(folder):
    return b"".join(path.read_bytes() for path in folder.iterdir())


def test_what_is_deleted_is_in_no_file_any_more_while_a_session_writes(kept, folder):
    assert b"KeyError" in bytes_of(folder)
    with sqlite3.connect(folder / "history.db") as other:  # a session that runs
        other.execute("SELECT count(*) FROM iteration").fetchone()

        assert data.delete(kept) == 6
        assert b"KeyError" not in bytes_of(folder)
    other.close()
    kept.add("newest", iteration(saved_at_s=3000.0))
    assert [trip.session for trip in kept.trips()] == ["newest"]


def test_only_what_is_older_is_deleted(kept):
    assert data.delete(kept, before_s=1500.0) == 4

    assert [trip.session for trip in kept.trips()] == ["new"]
    assert json.loads(data.as_json(kept))["pulse"]


def test_after_a_deletion_a_later_use_is_not_taken_for_the_first(kept):
    data.delete(kept)
    Recorder(kept, Session("later", 5000.0, "local"))

    assert kept.records().milestones == {}


def test_a_reader_that_keeps_the_old_bytes_is_told(kept, folder):
    reader = sqlite3.connect(folder / "history.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM iteration").fetchone()

    with pytest.raises(HotloopError, match="another program reads the file"):
        data.delete(kept)

    reader.close()
    assert data.delete(kept) == 1  # the note that there was an earlier use
    assert b"KeyError" not in bytes_of(folder)


def test_logs_of_sessions_are_removed_and_that_of_one_that_runs_is_emptied(folder):
    (folder / "logs").mkdir()
    running, ended, older = (
        folder / "logs" / f"20261126-010203-{name}.log" for name in (os.getpid(), "999999999", "999999998.1")
    )
    for log in (running, ended, older):
        log.write_text("secret")
    os.utime(older, (1000, 1000))

    assert data.delete_logs(folder, before_s=2000.0) == 1
    assert not older.exists()
    assert data.delete_logs(folder) == 2
    assert (running.read_text(), ended.exists()) == ("", False)
