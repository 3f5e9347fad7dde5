"""What is kept of iterations, and what a broken file does."""

from __future__ import annotations

import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hotloop import events
from hotloop.devloop import history, metrics, schema
from hotloop.devloop.metrics import Cost, Import

DATA = Path(__file__).parent.parent / "data"
FRAME = events.Frame("app.py", 7, "answer", "secret_code()", is_project=True)


def iteration(**changes):
    values = {
        "number": 3,
        "outcome": "failed",
        "saved_at_s": 1000.0,
        "is_save_estimated": False,
        "revision": 4,
        "generation": 2,
        "paths": ("app.py",),
        "size_bytes": 10,
        "feedback_s": 0.5,
        "ready_s": 0.2,
        "phases_s": {"detect": 0.5},
        "start": "standby",
        "models": (
            events.ModelOutcome("m", "kept", "resident", "fingerprint equal", 0.1, 5),
            events.ModelOutcome("n", "loaded", "resident", "first load", 0.1, 5),
        ),
        "probes": (events.ProbeReport("p", False, True, "secret_output", (), 0.1, 0.1, None),),
        "problem": events.Problem("KeyError", "secret_message", (FRAME,)),
    }
    return events.Iteration(**{**values, **changes})


def test_an_iteration_is_read_back_as_the_metrics_need_it(tmp_path):
    kept = history.History(tmp_path / "history.db")

    kept.add("s1", iteration())

    (trip,) = kept.trips()
    assert trip == history.trip_of("s1", iteration())
    assert (trip.num_kept, trip.num_loaded, trip.error_type, trip.error_file, trip.error_line) == (
        1, 1, "KeyError", "app.py", 7,
    )  # fmt: skip


def test_no_code_output_or_message_is_kept(tmp_path):
    kept = history.History(tmp_path / "history.db")

    kept.add("s1", iteration())
    kept.close()

    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"secret" not in content


def test_the_file_is_the_users_alone(tmp_path):
    history.History(tmp_path / "history.db").close()

    assert stat.S_IMODE((tmp_path / "history.db").stat().st_mode) == 0o600


def test_only_the_iterations_since_a_moment_are_given(tmp_path):
    kept = history.History(tmp_path / "history.db")
    for saved_at_s in (10.0, 20.0, 30.0):
        kept.add("s1", iteration(saved_at_s=saved_at_s))

    assert [trip.saved_at_s for trip in kept.trips(20.0)] == [20.0, 30.0]


def test_two_sessions_write_the_same_file(tmp_path):
    one, other = (history.History(tmp_path / "history.db") for _ in range(2))

    one.add("a", iteration())
    other.add("b", iteration())

    assert {trip.session for trip in one.trips()} == {"a", "b"}


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "history.db").write_bytes(b"not a database, but long enough to be read as a header" * 30)

    with pytest.raises(sqlite3.DatabaseError):
        history.History(tmp_path / "history.db")


def test_a_file_of_a_newer_format_is_left_alone(tmp_path):
    connection = sqlite3.connect(tmp_path / "history.db")
    connection.execute(f"PRAGMA user_version = {schema.SCHEMA + 1}")
    connection.close()

    with pytest.raises(sqlite3.DatabaseError, match="newer hotloop"):
        history.History(tmp_path / "history.db")


def test_the_projects_folder_is_ignored_by_git(tmp_path):
    folder = history.make_folder(tmp_path)

    assert (folder / ".gitignore").read_text() == "*\n"


def test_benches_are_kept_beside_the_iterations(tmp_path):
    kept = history.History(tmp_path / "history.db")
    benches = [history.Bench("s1", n, "/embed", 10.0 * n, 800, 1, 40.5, 0.02, 0.03) for n in (1, 2, 3)]

    for bench in benches:
        kept.add_bench(bench)

    assert kept.benches(20.0) == benches[1:]
    assert kept.trips() == []


def written_by_format_2(path, *, version=2):
    connection = sqlite3.connect(path)
    connection.executescript((DATA / "history_2.sql").read_text())
    if version == 1:
        connection.executescript("DROP TABLE bench; PRAGMA user_version = 1;")
    connection.close()
    return path


@pytest.mark.parametrize(("version", "num_benches"), [(1, 0), (2, 1)])
def test_a_file_of_an_older_format_gets_what_it_lacks_and_keeps_what_it_has(tmp_path, version, num_benches):
    kept = history.History(written_by_format_2(tmp_path / "history.db", version=version))

    trips = kept.trips()
    assert [(trip.number, trip.outcome, trip.cause) for trip in trips] == [
        (0, "ok", "cold"), (1, "ok", "code"), (2, "failed", "code"), (3, "ok", "model"), (4, "ok", "environment"),
    ]  # fmt: skip
    assert (trips[2].error_type, trips[2].error_line) == ("KeyError", 7)
    assert trips[3].models == (metrics.Model("m", "loaded", "resident", 0.3, 5),)
    assert len(kept.benches()) == num_benches
    kept.add("s2", iteration())
    assert len(kept.trips()) == 6


def test_a_file_of_format_3_keeps_its_runs_of_tests(tmp_path):
    path = tmp_path / "history.db"
    kept = history.History(path)
    kept.add_test_run(run := metrics.TestRun("s", 3, 9.0, "failed", 1.5, 4, 1, places=(("t.py", 3, "E"),)))
    kept.connection.execute("ALTER TABLE test_run ADD COLUMN is_partial INTEGER NOT NULL DEFAULT 0")
    kept.connection.execute("PRAGMA user_version = 3")
    kept.close()

    kept = history.History(path)
    kept.add_test_run(run)
    assert kept.records().tests == (run, run)


def test_a_project_that_was_used_before_first_use_was_noted_has_none(tmp_path):
    kept = history.History(written_by_format_2(tmp_path / "history.db"))

    kept.reach("began", 5000.0)

    assert kept.records().milestones == {}


def test_a_file_that_two_open_at_once_is_brought_up_to_date_once(tmp_path):
    path = written_by_format_2(tmp_path / "history.db")

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: len(history.History(path).trips()), range(4)))

    assert found == [5, 5, 5, 5]


def test_every_table_says_what_it_holds_and_when(tmp_path):
    kept = history.History(tmp_path / "history.db")

    tables = kept.connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()

    for (name,) in tables:
        columns = [row[1] for row in kept.connection.execute(f"PRAGMA table_info({name})")]
        assert schema.TABLES[name].moment in columns


def test_a_sessions_cost_is_its_newest_and_keeps_figures_that_are_not_known_any_more(tmp_path):
    kept = history.History(tmp_path / "history.db")

    kept.keep_cost(Cost("s1", 10.0, "table", 0.5, 0.1, 0.04))
    kept.keep_cost(Cost("s1", 20.0, "table", 0.9, 0.3))
    kept.keep_cost(Cost("s2", 30.0, "table", 0.2, 0.0))

    assert kept.records().costs == (Cost("s1", 20.0, "table", 0.9, 0.3, 0.04), Cost("s2", 30.0, "table", 0.2, 0.0))
    assert len(kept.records(25.0).costs) == 1


def test_slow_imports_are_kept(tmp_path):
    kept = history.History(tmp_path / "history.db")
    kept.add("s1", iteration(imports=(events.ImportTime("torch", 1.5, is_project=False),), import_bytes=7))

    (trip,) = kept.trips()
    assert (trip.imports, trip.import_bytes) == ((Import("torch", 1.5, is_project=False),), 7)


def test_the_last_runner_is_that_of_the_newest_session_that_is_open_or_had_something_to_show(tmp_path):
    kept = history.History(tmp_path / "history.db")
    seen = [kept.last_runner()]
    kept.begin(metrics.Session("a", 1000.0, "gpu1"))
    seen.append(kept.last_runner())  # it may run
    kept.add("a", iteration())
    kept.end("a", 1100.0, "quit")
    kept.begin(metrics.Session("b", 1200.0, "gpu11"))
    kept.end("b", 1201.0, "failed")  # a name that was typed wrong
    seen.append(kept.last_runner())
    kept.begin(metrics.Session("c", 1300.0, "local"))
    seen.append(kept.last_runner())

    assert seen == ["", "gpu1", "gpu1", "local"]
