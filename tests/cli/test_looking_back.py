"""`dev stats`, `dev explain` and `dev data`: what the history is read with."""

from __future__ import annotations

import json
import time

import pytest
from tests.cli.test_commands import dev_here
from tests.devloop.test_history import iteration

from hotloop import events
from hotloop.cli import stats_lines
from hotloop.devloop import history, metrics
from hotloop.devloop.metrics import Session
from hotloop.devloop.recorder import Recorder

PHASES_S = {"detect": 0.002, "sync": 0.008, "apply": 0.01, "reload": 0.03, "warmup": 0.04, "first_output": 0.01}


@pytest.fixture
def dev(capsys, monkeypatch):
    return lambda *arguments, cwd: dev_here(capsys, monkeypatch, *map(str, arguments), cwd=cwd)


@pytest.fixture
def project(tmp_path):
    """Two sessions: one with two good iterations, one with a start, two good ones and a failed one whose tests ran before."""
    (tmp_path / "app.py").write_text("import hotloop\napp = hotloop.App('tiny')\n")
    now_s = time.time()
    kept = history.History(history.make_folder(tmp_path) / "history.db")

    def add(session, number, ago_s, **changes):
        ok = {"outcome": "ok", "problem": None, "feedback_s": 0.1, "phases_s": PHASES_S, **changes}
        kept.add(session, iteration(number=number, saved_at_s=now_s - ago_s, **ok))

    Recorder(kept, Session("aaaa1111", now_s - 1000, "gpu1"))
    add("aaaa1111", 1, 990.0, feedback_s=0.4, phases_s={**PHASES_S, "reload": 0.33})
    add("aaaa1111", 2, 980.0, feedback_s=2.0)
    Recorder(kept, Session("bbbb2222", now_s - 500, "local"))
    add("bbbb2222", 0, 490.0, feedback_s=4.0, cause="cold", start="zygote")
    loaded = events.ModelOutcome("n", "loaded", "resident", "app.py: PROMPT changed ('x' -> 'y')", 0.03, 5_000_000)
    add("bbbb2222", 1, 480.0, cause="model", models=(loaded,), expected_s=0.08)
    add("bbbb2222", 2, 470.0)
    run = metrics.TestRun("bbbb2222", 2, now_s - 468, "failed", 1.5, 10, 1, (("test_app.py", 14, "AssertionError"),))
    kept.add_test_run(run)
    kept.keep_cost(metrics.Cost("aaaa1111", now_s - 600, "pyproject.toml", 1.6, 0.59))
    kept.keep_cost(metrics.Cost("bbbb2222", now_s - 400, "pyproject.toml", 0.4, 0.0))
    kept.add("bbbb2222", iteration(number=3, saved_at_s=now_s - 460))
    kept.close()
    return tmp_path


def test_stats_draw_the_last_iterations_and_say_each_number_that_is_known(dev, project):
    code, out, err = dev("stats", cwd=project)

    assert (code, err) == (0, "")
    assert "iterations        5 (4 ok, 1 failed, 0 superseded) in 2 sessions" in out
    assert "last 5            ▃▅▂▂✗" in out
    assert "time to feedback  p50 100 ms, max 2.00 s (n 4); under 1 s 75%, under 10 s 100%" in out
    assert "cold starts       about 4 avoided, about 16.0 s" in out
    assert "tests             p50 1.50 s, max 1.50 s (n 1), 1 failed" in out
    assert "active            8m50" in out
    assert "cost              $2.00, of it idle $0.59 in 2 sessions" in out


def test_stats_have_a_row_for_each_cause_or_day(dev, project):
    causes, days = dev("stats", "--by", "cause", cwd=project)[1], dev("stats", "--by", "day", cwd=project)[1]

    assert [line.split()[0] for line in causes.splitlines()] == ["cause", "code", "model", "cold"]
    assert days.splitlines()[0].startswith("day")
    assert dev("stats", "--by", "hour", cwd=project)[0] == 2


def test_stats_as_json_hold_causes_and_days(dev, project):
    data = json.loads(dev("stats", "--json", "--by", "day", cwd=project)[1])

    assert [each["cause"] for each in data["causes"]] == ["code", "model", "cold"]
    assert sum(day["num_ok"] for day in data["days"]) == 4
    assert data["repairs"]["num_abandoned"] == 0
    assert [(cost["total"], cost["idle"]) for cost in data["costs"]] == [(1.6, 0.59), (0.4, 0.0)]


@pytest.mark.parametrize(("feedback_s", "block"), [(0.0, "_"), (0.03, "_"), (1.0, ":"), (99.0, "#"), (1e4, "#")])
def test_an_iteration_is_a_block_as_high_as_its_times_logarithm(feedback_s, block):
    (line, _) = stats_lines.recent([metrics.Trip("s", 1, "ok", 0.0, feedback_s)], is_ascii=True)

    assert line.split() == ["last", "1", block]


def test_an_iteration_is_explained_beside_those_of_its_cause(dev, project):
    out = dev("explain", "2", cwd=project)[1]

    assert out.startswith("#2  ok  100 ms to feedback  code  saved ")
    assert "phase             took                                  median of 2 good ones" in out
    reload_line = next(line for line in out.splitlines() if line.startswith("  reload"))
    assert reload_line.split()[:3] == ["reload", "30", "ms"]
    assert reload_line.endswith("30 ms")
    assert "kept       m 5 B  100 ms  fingerprint equal" in out
    assert "tests      failed  1.50 s  10 passed, 1 failed" in out
    assert "           AssertionError at test_app.py:14" in out
    assert "session    bbbb2222 on local" in out


def test_why_a_model_was_loaded_is_explained_with_what_would_avoid_it(dev, project):
    out = dev("explain", "1", cwd=project)[1]

    assert "why        n was loaded: app.py: PROMPT changed\n" in out
    assert "expected   80 ms: it took 25% longer" in out
    assert "loaded     n 5.0 MB  30 ms  app.py: PROMPT changed\n" in out
    assert "fix        what is edited often should be no constant that the loader reads" in out


def test_the_last_iteration_is_explained_and_those_of_earlier_sessions(dev, project):
    last, earlier = dev("explain", cwd=project)[1], dev("explain", "1", "--session", "aaaa", cwd=project)[1]

    assert last.startswith("#3  failed  500 ms to the error")
    assert "error      KeyError at app.py:7" in last
    assert "session    aaaa1111 on gpu1" in earlier


def test_an_explanation_as_json_is_one_object(dev, project):
    data = json.loads(dev("explain", "2", "--json", cwd=project)[1])

    assert (data["schema"], data["trip"]["number"], data["num_compared"]) == (1, 2, 2)
    assert sum(data["trip"]["phases_s"].values()) == pytest.approx(data["trip"]["feedback_s"])
    assert data["tests"]["places"] == [["test_app.py", 14, "AssertionError"]]


@pytest.mark.parametrize(
    ("arguments", "said", "hint"),
    [
        (["9"], "session bbbb2222 has no iteration #9", "it has #0 to #3"),
        (["1", "--session", "cc"], "no session is called cc...", "the last ones are aaaa1111, bbbb2222"),
    ],
)
def test_what_can_not_be_explained_is_told(dev, project, arguments, said, hint):
    code, _, err = dev("explain", *arguments, cwd=project)

    assert code == 2
    assert said in err
    assert hint in err


def test_without_a_history_there_is_nothing_to_explain(dev, tmp_path):
    assert "there is no iteration to explain" in dev("explain", cwd=tmp_path)[2]


def test_data_are_shown_handed_out_and_deleted(dev, project, tmp_path_factory):
    away = tmp_path_factory.mktemp("away")
    shown = dev("data", "show", cwd=project)[1]
    assert "Nothing of it leaves this machine." in shown
    assert "iteration            6  each save" in shown
    assert json.loads(dev("data", "show", "--json", cwd=project)[1])["leaves_the_machine"] is False

    assert dev("data", "export", str(away / "all.json"), cwd=project)[0] == 0
    assert dev("data", "export", str(away / "tables"), cwd=project)[0] == 0
    assert len(json.loads((away / "all.json").read_text())["iteration"]) == 6
    assert (away / "tables" / "session.csv").read_text().count("\n") == 3
    assert "is there already" in dev("data", "export", str(away / "all.json"), cwd=project)[2]

    code, _, err = dev("data", "delete", cwd=project)
    assert (code, "--yes" in err) == (2, True)
    assert "a date was expected" in dev("data", "delete", "--before", "soon", cwd=project)[2]
    assert dev("data", "delete", "--before", "2020-01-01", "--yes", cwd=project)[2] == "deleted 0 rows\n"
    assert dev("data", "delete", "--yes", cwd=project)[0] == 0
    assert dev("stats", cwd=project)[1].startswith("no iteration since")


def test_where_nothing_is_stored_that_is_said(dev, tmp_path):
    assert dev("data", "show", cwd=tmp_path)[1].startswith("nothing is stored")
    assert dev("data", "delete", "--yes", cwd=tmp_path)[2] == "nothing is stored\n"
    assert "nothing was measured" in dev("data", "export", "x.json", cwd=tmp_path)[2]
