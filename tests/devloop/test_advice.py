"""What advice names, and what it leaves unsaid."""

from __future__ import annotations

import pytest
from tests.devloop.report.kept import loaded, probed, trip

from hotloop import events
from hotloop.devloop import advice, history
from hotloop.devloop.metrics import Import, Model


def times(count, one):
    return [one] * count


def imported(name, took_s, *, is_project=False, read=0):
    return trip(feedback_s=took_s + 0.05, imports=(Import(name, took_s, is_project),), import_bytes=read)


CASES = {
    "heavy_import": (imported("pandas", 0.8), "pandas is imported anew at each save, 800 ms", "import pandas in the loader"),
    "own_import": (imported("tables.py", 0.4, is_project=True), "tables.py runs 400 ms of its own statements", "@app.model"),
    "import_data": (
        imported("tables.py", 0.4, is_project=True, read=412_000_000),
        "tables.py reads data when it is imported, 412 MB and 400 ms",
        "read it in an @app.model",
    ),
    "loader_module": (
        loaded("app.py: a statement that runs on import changed"),
        "encoder was loaded again because app.py changed, 1.00 s each",
        "move encoder() and what it uses out of app.py",
    ),
    "loader_edited": (loaded("app.py:14 encoder() changed"), "encoder() itself was edited", "leave in encoder() what loads"),
    "loader_value": (
        loaded("app.py: LENGTH changed"),
        "because LENGTH in app.py changed",
        "use LENGTH in the endpoint, not in encoder()",
    ),
    "loader_loader": (loaded("load.py:9 read() changed"), "because read() in load.py changed", "leave in read() what loading"),
    "loader_class": (loaded("net.py: class Net changed"), "because class Net in net.py changed", "bases of Net"),
    "not_resident": (
        loaded("first load; it can't stay resident: its loader also changed app.CACHE", home="worker"),
        "encoder is loaded at every save, 1.00 s, because it can't stay in memory: its loader also changed app.CACHE",
        "return everything from the loader",
    ),
    "slow_probe": (probed(2.0), "the first probe, cat, computes for 2.00 s", "write a quicker probe before it"),
    "sync": (
        trip(feedback_s=3.0, phases_s={"sync": 2.5, "reload": 0.5}, size_bytes=40_000_000),
        "40 MB were sent at each save",
        ".hotloopignore",
    ),
    "detect": (trip(feedback_s=1.2, phases_s={"detect": 1.1, "reload": 0.1}), "a save was seen 1.10 s late", "local disk"),
    "environment": (trip(feedback_s=20.0, cause="environment"), "another environment was made, 20 s", "in one save"),
    "cold": (trip(feedback_s=8.0, cause="cold", asked="restart"), "a cold restart was asked for, 8.00 s each", "a save needs none"),
}  # fmt: skip


@pytest.mark.parametrize("code", CASES)
def test_the_cause_is_named_with_its_evidence_and_one_fix(code):
    one, cause, fix = CASES[code]
    (found,) = advice.advise([*times(4, one), *times(10, trip())])

    assert (found.code, found.num_edits) == (code, 4)
    assert found.due_s == pytest.approx(found.waited_s, rel=0.35)
    assert cause in found.cause
    assert fix in found.fix


def test_what_costs_most_comes_first_and_what_costs_little_is_left_out():
    found = advice.advise([*times(4, loaded(took_s=2.0)), *times(5, probed(4.0)), *times(3, imported("tiny", 0.06))])

    assert [each.code for each in found] == ["slow_probe", "loader_value"]


def test_two_edits_are_no_evidence():
    assert advice.advise([*times(2, loaded()), *times(9, trip())]) == ()


def test_good_code_needs_no_advice():
    (share,) = advice.shares(times(30, trip()))

    assert (share.code, share.fix, advice.advise(times(30, trip()))) == ("code", "", ())


def test_a_model_made_from_another_is_not_the_reason():
    models = (
        Model("encoder", "loaded", "resident", 0.5, 0, "app.py: LENGTH changed"),
        Model("index", "loaded", "resident", 3.0, 0, "it is made from encoder, which was loaded"),
    )
    (found,) = advice.advise(times(3, trip(feedback_s=3.6, cause="model", models=models)))

    assert (found.code, found.due_s) == ("loader_value", 10.5)
    assert found.cause.startswith("encoder was loaded again")


def test_each_edit_is_in_one_share():
    edits = [one for one, _, _ in CASES.values() if one.is_edit]
    edits += [
        trip(outcome="failed"),
        trip(outcome="superseded"),
        trip(start="fork"),
        loaded("asked for"),
        loaded("tok.json changed"),
    ]
    found = advice.shares(edits)

    assert sum(share.num_edits for share in found) == len(edits)
    assert sum(share.waited_s for share in found) == pytest.approx(sum(edit.feedback_s for edit in edits))
    assert all(share.cause for share in found)


def test_what_was_asked_for_is_no_edit():
    asked = [
        trip(asked=what, cause=cause) for what, cause in (("reload", "model"), ("undo", "code"), ("restart", "cold"))
    ]
    (share,) = advice.shares([*asked, trip()])

    assert share.num_edits == 1
    assert "(3 starts, 24 s)" in advice.sentence(advice.advise(times(3, CASES["cold"][0]))[0])


def test_a_long_wait_counts_for_two_minutes():
    (share,) = advice.shares([trip(feedback_s=4000.0)])

    assert share.waited_s == 120.0


def test_sessions_that_begin_from_nothing_are_advised_to_be_left_running():
    starts = [trip(feedback_s=12.0, number=0, cause="cold", session=str(n)) for n in range(4)]
    resumed = [trip(feedback_s=12.0, number=0, cause="cold", start="resumed")]
    (found,) = advice.advise([*starts, *resumed, *times(20, trip())])

    assert (found.code, found.num_edits, found.due_s) == ("first_start", 4, 48.0)
    assert advice.advise([*starts[:2], *times(20, trip())]) == ()


def test_an_iteration_as_it_happens_is_advised_on_as_one_that_was_kept():
    model = events.ModelOutcome("encoder", "loaded", "resident", "app.py: LENGTH changed (8 -> 9)", 1.0, 5)
    iteration = events.Iteration(
        1, "ok", 0.0, False, 1, 1, ("app.py",), 0, 1.1, 1.0, {"warmup": 1.1}, models=(model,), cause="model"
    )
    (found,) = advice.advise([history.trip_of("", iteration)] * 3)

    assert found.code == "loader_value"
    assert "8" not in advice.sentence(found)
    assert advice.sentence(found).endswith(
        "(3 edits, 3.0 s): use LENGTH in the endpoint, not in encoder(): then no change of it loads anything"
    )
