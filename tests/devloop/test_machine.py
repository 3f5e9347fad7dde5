"""The loop's decisions: tables for what follows from what, laws for what must hold in any order of events."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotloop import events
from hotloop.clock import SaveTime
from hotloop.devloop import machine, timeline
from hotloop.devloop.machine_events import (
    Acked,
    Asked,
    Confirmed,
    Dangerous,
    Ended,
    Happened,
    Opened,
    Paused,
    Refused,
    Resumed,
    Save,
    Saved,
    Shown,
    Snapshotted,
    Unchanged,
    Undone,
)
from hotloop.devloop.machine_state import Emit, Send, Snapshot, State

PROBLEM = events.Problem("NameError", "name 'x' is not defined")


def play(*fed, state=None):
    state, actions = state or State(), []
    for event in fed:
        state, more = machine.step(state, event)
        actions += more
    return state, actions


def emitted(actions, kind=None):
    found = [action.event for action in actions if isinstance(action, Emit)]
    return [event for event in found if kind is None or event.kind == kind]


def iterations(actions):
    return [event.iteration for event in emitted(actions, "iteration_finished")]


def saved(*paths, seen=10.0):
    return Saved(Save(frozenset(paths or ["app.py"]), seen))


def snapshotted(sequence, at=10.001, stamp=9.99):
    return Snapshotted(at, sequence, SaveTime(stamp, 1000 + stamp, is_estimated=False), ("app.py",), 120)


def happened(event, at=None):
    return Happened(event.at_s if at is None else at, event)


def started(revision, at):
    return happened(events.ReloadStarted(at, revision, "standby"))


def ready(revision, generation, at, imported=None):
    return happened(
        events.Ready(at, revision, generation, imported if imported is not None else at - 0.002, "standby", (), (), ())
    )


def probed(revision, generation, at, output="1", name="p", *, is_ok=True):
    problem = None if is_ok else PROBLEM
    return happened(
        events.ProbeFinished(at, revision, generation, name, "function", is_ok, output, 0.01, 0.008, problem)
    )


def done(revision, generation, at, count=1):
    return happened(events.ProbesFinished(at, revision, generation, count))


def trip(number, base, *, output="1"):
    """All events of one good iteration whose changeset becomes the revision of the same number."""
    return (
        saved(seen=base),
        snapshotted(number, at=base + 0.001, stamp=base - 0.010),
        Acked(number, number, base + 0.003),
        started(number, base + 0.004),
        ready(number, number, base + 0.010),
        probed(number, number, base + 0.030, output),
        Shown(base + 0.031, number, "p"),
        done(number, number, base + 0.040),
    )


def test_a_save_is_read_sent_and_announced_in_that_order():
    _, actions = play(saved("app.py"), snapshotted(1))

    assert [type(action) for action in actions] == [Snapshot, Send, Emit]
    assert emitted(actions) == [events.IterationStarted(10.001, 1, ("app.py",), 9.99)]


def test_a_good_iteration_has_each_phase_between_its_marks():
    _, actions = play(*trip(1, 10.0))

    (iteration,) = iterations(actions)
    assert iteration.outcome == "ok"
    assert iteration.feedback_s == pytest.approx(0.041)
    assert iteration.ready_s == pytest.approx(0.020)
    assert iteration.phases_s == pytest.approx(
        {"detect": 0.010, "sync": 0.003, "apply": 0.001, "reload": 0.004, "warmup": 0.002, "first_output": 0.021}
    )


def test_feedback_without_a_probe_is_ready():
    fed = [event for event in trip(1, 10.0) if not _is_probe(event)]

    _, actions = play(*fed[:-1], done(1, 1, 10.5, count=0))

    (iteration,) = iterations(actions)
    assert iteration.feedback_s == pytest.approx(iteration.ready_s)
    assert iteration.phases_s["first_output"] == 0.0


def _is_probe(event):
    return isinstance(event, Shown) or isinstance(getattr(event, "event", None), events.ProbeFinished)


def test_a_failed_reload_counts_the_time_to_the_error_and_keeps_what_serves():
    state, _ = play(*trip(1, 10.0))
    failed = happened(events.ReloadFailed(20.006, 2, PROBLEM, 1), at=20.007)

    state, actions = play(
        saved(seen=20.0), snapshotted(2, 20.001, 19.999), Acked(2, 2, 20.003), started(2, 20.004), failed,
        state=state,
    )  # fmt: skip

    (iteration,) = iterations(actions)
    assert (iteration.outcome, iteration.problem) == ("failed", PROBLEM)
    assert iteration.feedback_s == pytest.approx(0.008)
    assert iteration.phases_s["reload"] == pytest.approx(0.003)
    assert state.serving == 1
    assert state.flights == ()


def test_a_failed_probe_fails_the_iteration_at_the_moment_it_was_shown():
    fed = list(trip(1, 10.0))
    fed[5] = probed(1, 1, 10.030, "1", is_ok=False)

    _, actions = play(*fed)

    (iteration,) = iterations(actions)
    assert (iteration.outcome, iteration.problem, iteration.generation) == ("failed", PROBLEM, 1)
    assert iteration.feedback_s == pytest.approx(0.041)


def test_a_newer_save_supersedes_one_that_is_not_ready():
    _, actions = play(
        saved(seen=10.0), snapshotted(1), Acked(1, 1, 10.002), started(1, 10.003),
        saved(seen=10.1), snapshotted(2, 10.101, 10.099), Acked(2, 2, 10.102),
        happened(events.ReloadSuperseded(10.103, 1, 2)),
        started(2, 10.104), ready(2, 1, 10.110), done(2, 1, 10.120, 0),
    )  # fmt: skip

    assert [(i.number, i.outcome) for i in iterations(actions)] == [(1, "superseded"), (2, "ok")]


def test_a_newer_ready_supersedes_an_older_one_that_the_runtime_never_began():
    _, actions = play(
        saved(), snapshotted(1), Acked(1, 1, 10.002), saved(), snapshotted(2), Acked(2, 2, 10.102),
        ready(2, 1, 10.110), done(2, 1, 10.120, 0),
    )  # fmt: skip

    assert [(i.number, i.outcome) for i in iterations(actions)] == [(1, "superseded"), (2, "ok")]


def test_feedback_on_the_screen_is_not_undone_by_a_newer_save():
    fed = trip(1, 10.0)[:-1]  # its other probes still run

    _, actions = play(*fed, saved(seen=11), snapshotted(2, 11.001, 10.999), Acked(2, 2, 11.002), ready(2, 2, 11.010))

    assert [(i.number, i.outcome) for i in iterations(actions)] == [(1, "ok")]


def test_what_is_said_before_the_acknowledgement_counts():
    fed = list(trip(1, 10.0))
    fed.append(fed.pop(2))

    _, actions = play(*fed)

    (iteration,) = iterations(actions)
    assert iteration.outcome == "ok"
    assert [report.name for report in iteration.probes] == ["p"]


def test_an_unchanged_save_leads_to_nothing():
    state, actions = play(saved(), Unchanged())

    assert actions == [Snapshot(Save(frozenset(["app.py"]), 10.0))]
    assert state == State()


def test_saves_during_a_snapshot_are_read_next():
    _, actions = play(saved("a.py"), saved("b.py", seen=10.1), snapshotted(1))

    assert [a.save.paths for a in actions if isinstance(a, Snapshot)] == [frozenset(["a.py"]), frozenset(["b.py"])]


@pytest.mark.parametrize(("unacked", "is_read"), [(7, True), (8, False), (9, False)])
def test_saves_gather_when_too_much_is_unacknowledged(unacked, is_read):
    state = State()
    for sequence in range(1, min(unacked, 8) + 1):
        state, _ = play(saved(), snapshotted(sequence), state=state)

    _, actions = play(saved("late.py"), state=state)

    assert any(isinstance(action, Snapshot) for action in actions) is is_read


def test_a_dangerous_deletion_is_asked_about_once_and_nothing_is_sent():
    dangerous = Dangerous(10.0, "9 of 10 files were deleted at once", "confirm it")

    state, actions = play(saved("a"), dangerous, saved("b"), dangerous)

    assert emitted(actions) == [events.Held(10.0, "9 of 10 files were deleted at once", "confirm it")]
    assert not any(isinstance(action, Send) for action in actions)
    assert state.dirty is not None
    assert state.dirty.paths == {"a", "b"}


def test_a_deletion_that_is_taken_back_is_waited_for_no_longer_and_that_is_said():
    state, _ = play(saved("a"), Dangerous(10.0, "gone", ""))

    state, actions = play(saved("a"), Unchanged(11.0), state=state)

    assert emitted(actions) == [events.Held(11.0, "")]
    assert state.hold == ""


def test_a_confirmed_deletion_is_read_as_confirmed():
    state, _ = play(saved("a"), Dangerous(10.0, "gone", ""))

    _, actions = play(Confirmed(), state=state)

    assert actions == [Snapshot(Save(frozenset(["a"]), 10.0), is_confirmed=True)]


def test_a_confirmation_of_nothing_does_nothing():
    assert play(Confirmed()) == (State(), [])


def test_a_refused_changeset_fails_its_iteration_and_says_why():
    _, actions = play(saved(), snapshotted(1), Refused(10.1, 1, PROBLEM))

    assert [event.kind for event in emitted(actions)] == ["iteration_started", "reload_failed", "iteration_finished"]
    assert iterations(actions)[0].outcome == "failed"


def test_outputs_are_compared_with_the_last_good_ones():
    state, _ = play(*trip(1, 10.0, output='"a"'))
    broken = [probed(2, 2, 20.03, '"zzz"', is_ok=False) if _is_finished(e) else e for e in trip(2, 20.0)]
    state, _ = play(*broken, state=state)

    _, actions = play(*trip(3, 30.0, output='"b"'), state=state)

    (reported,) = emitted(actions, "probe_reported")
    assert (reported.number, reported.report.is_changed, reported.report.diff) == (3, True, ("- a", "+ b"))


def _is_finished(event):
    return isinstance(getattr(event, "event", None), events.ProbeFinished)


def test_probes_after_a_crash_are_reported_without_an_iteration():
    state, _ = play(*trip(1, 10.0))

    _, actions = play(started(1, 11.0), ready(1, 2, 11.1), probed(1, 2, 11.2), done(1, 2, 11.3), state=state)

    assert len(emitted(actions, "probe_reported")) == 1
    assert iterations(actions) == []


def test_a_runtime_that_stops_ends_what_was_under_way():
    _, actions = play(saved(), snapshotted(1), happened(events.RuntimeStopped(10.5, PROBLEM)))

    assert [(i.outcome, i.problem) for i in iterations(actions)] == [("failed", PROBLEM)]


def test_the_first_start_is_iteration_zero():
    began = SaveTime(1.0, 1001.0, is_estimated=True)

    _, actions = play(Opened(began, 1.5, 2.0, 7), started(7, 3.0), ready(7, 1, 5.0, imported=4.0), done(7, 1, 5.1, 0))

    (iteration,) = iterations(actions)
    assert (iteration.number, iteration.feedback_s, iteration.is_save_estimated) == (0, 4.0, True)


# --- paused


def test_saves_are_kept_back_while_paused_and_go_as_one_changeset_timed_from_the_resume():
    state, actions = play(Paused(9.0), Paused(9.5), saved("a.py", seen=10.0), saved("b.py", seen=11.0))
    assert actions == [
        Emit(events.SyncPaused(9.0, 0)),
        Emit(events.SyncPaused(10.0, 1)),
        Emit(events.SyncPaused(11.0, 2)),
    ]

    state, actions = play(Resumed(60.0), Resumed(61.0), state=state)
    assert actions == [
        Emit(events.SyncResumed(60.0)), Snapshot(Save(frozenset(["a.py", "b.py"]), 60.0, resumed_s=60.0)),
    ]  # fmt: skip
    assert not state.is_paused


def test_what_is_on_its_way_goes_on_while_paused():
    fed = trip(1, 10.0)

    _, actions = play(*fed[:2], Paused(10.0015), *fed[2:])

    assert [i.outcome for i in iterations(actions)] == ["ok"]


def test_a_pause_outlasts_a_cut_and_is_told_again_behind_it():
    state, actions = play(
        Paused(9.0), saved(seen=9.5), happened(events.Offline(10.0, 0)), saved(seen=11.0),
        happened(events.Online(12.0, 2.0)),
    )  # fmt: skip

    assert [(event.kind, getattr(event, "queued", None)) for event in emitted(actions)] == [
        ("sync_paused", 0), ("sync_paused", 1), ("offline", 1), ("offline", 2), ("online", None), ("sync_paused", 2),
    ]  # fmt: skip
    assert not any(isinstance(action, Snapshot) for action in actions)

    _, actions = play(happened(events.Offline(13.0, 0)), Resumed(14.0), state=state)
    assert emitted(actions)[1:] == [events.SyncResumed(14.0), events.Offline(14.0, 2)]
    assert not any(isinstance(action, Snapshot) for action in actions)


def test_a_deletion_that_is_waited_for_waits_on_while_paused_and_is_asked_about_again():
    dangerous = Dangerous(10.0, "most is gone", "")
    state, actions = play(saved("a"), dangerous, Paused(11.0), Confirmed(), saved("b", seen=12.0))
    assert [type(action) for action in actions if not isinstance(action, Emit)] == [Snapshot]

    _, actions = play(Resumed(13.0), dangerous, state=state)
    assert [event.kind for event in emitted(actions)] == ["sync_resumed", "held"]


# --- asked for


def asked(at, *, is_cold=False):
    return Asked(SaveTime(at, 1000 + at, is_estimated=False), is_cold)


def test_a_reload_that_was_asked_for_is_an_iteration_from_then_on():
    state, _ = play(*trip(1, 10.0))

    _, actions = play(
        asked(20.0, is_cold=True), probed(1, 1, 20.1), done(1, 1, 20.2), started(1, 21.0), ready(1, 2, 22.0),
        probed(1, 2, 22.2), Shown(22.3, 2, "p"), done(1, 2, 22.4), state=state,
    )  # fmt: skip

    assert emitted(actions, "iteration_started") == [events.IterationStarted(20.0, 2, (), 20.0, "restart")]
    (iteration,) = iterations(actions)
    assert (iteration.number, iteration.outcome, iteration.cause, iteration.asked) == (2, "ok", "cold", "restart")
    assert iteration.feedback_s == pytest.approx(2.3)
    assert [report.output for report in iteration.probes] == ["1"]


def test_a_reload_that_was_asked_for_amid_another_begins_that_one_again():
    fed = trip(1, 10.0)

    _, actions = play(*fed[:3], asked(10.004), *fed[3:])

    assert [i.number for i in iterations(actions)] == [1]


def test_a_reload_that_was_asked_for_can_fail():
    state, _ = play(*trip(1, 10.0))

    _, actions = play(asked(20.0), happened(events.ReloadFailed(20.5, 1, PROBLEM, 1)), state=state)

    assert [(i.outcome, i.feedback_s) for i in iterations(actions)] == [("failed", 0.5)]


def test_an_edit_that_is_taken_back_is_an_iteration_too():
    state, _ = play(*trip(1, 10.0))
    undone = Undone(2, SaveTime(20.0, 1020.0, is_estimated=False), ("app.py",), 90, 1)

    _, actions = play(undone, *trip(2, 20.0)[2:], state=state)

    assert actions[:3] == [
        Send(2), Emit(events.IterationStarted(20.0, 2, ("app.py",), 20.0, "undo")), Emit(events.EditUndone(20.0, 2, 1, ("app.py",))),
    ]  # fmt: skip
    assert [(i.number, i.outcome, i.paths) for i in iterations(actions)] == [(2, "ok", ("app.py",))]


# --- laws: a runner that answers in any order it may, and a user who saves at any time


class World:
    """Carries actions out as the engine and a runner would, with choices that Hypothesis makes."""

    def __init__(self, choose):
        self.choose = choose
        self.state = State()
        self.now = 100.0
        self.sequence = 0
        self.generation = 0
        self.waiting = []  # sent, not acknowledged
        self.revision = 0
        self.done = 0
        self.saves = 0
        self.sent = []
        self.saved = set()
        self.unchanged = set()
        self.started = 0
        self.iterations = []

    def tick(self):
        self.now += self.choose(st.integers(0, 50)) / 1000
        return self.now

    def feed(self, event):
        self.state, actions = machine.step(self.state, event)
        for action in actions:
            self.carry_out(action)

    def carry_out(self, action):
        if isinstance(action, Snapshot):
            self.snapshot(action)
        elif isinstance(action, Send):
            self.waiting.append(action.sequence)
        elif action.event.kind == "iteration_started":
            self.started += 1
        elif action.event.kind == "iteration_finished":
            self.iterations.append(action.event.iteration)
        elif action.event.kind == "probe_reported" and self.choose(st.booleans()):
            self.feed(Shown(self.tick(), action.event.generation, action.event.report.name))

    def snapshot(self, action):
        kind = self.choose(st.sampled_from(["changed", "changed", "changed", "unchanged", "dangerous"]))
        if kind == "dangerous" and not action.is_confirmed:
            self.feed(Dangerous(self.tick(), "most is gone", ""))
        elif kind == "unchanged":
            self.unchanged |= action.save.paths
            self.feed(Unchanged())
        else:
            self.sequence += 1
            self.sent.append(action.save.paths)
            stamp = self.now - self.choose(st.integers(-20, 300)) / 1000
            saved_time = SaveTime(stamp, stamp, is_estimated=False)
            paths = tuple(sorted(action.save.paths))
            self.feed(Snapshotted(self.tick(), self.sequence, saved_time, paths, 1))

    def save(self):
        self.saves += 1
        self.saved.add(f"f{self.saves}")
        self.feed(Saved(Save(frozenset([f"f{self.saves}"]), self.tick())))

    def cut(self):
        self.feed(happened(events.Offline(self.tick(), 0)))

    def mend(self):
        self.feed(happened(events.Online(self.tick(), 1.0)))

    def pause(self):
        self.feed(Paused(self.tick()))

    def resume(self):
        self.feed(Resumed(self.tick()))

    def ask(self):
        if self.revision:
            at = self.tick()
            self.feed(Asked(SaveTime(at, at, is_estimated=False), self.choose(st.booleans())))

    def undo(self):
        if not self.state.is_offline:
            self.sequence += 1
            at = self.tick()
            self.feed(Undone(self.sequence, SaveTime(at, at, is_estimated=False), ("undone",), 1, 1))

    def acknowledge(self):
        if self.waiting:
            sequence = self.waiting.pop(0)
            if self.choose(st.integers(0, 9)) == 0:
                self.feed(Refused(self.tick(), sequence, PROBLEM))
            else:
                self.revision += 1
                self.feed(Acked(sequence, self.revision, self.tick()))

    def reload(self):
        """The runner tries its newest revision, perhaps before the acknowledgement has arrived."""
        ahead = 1 if self.waiting and self.choose(st.booleans()) else 0
        revision = self.revision + ahead
        if not revision:
            return
        self.feed(started(revision, self.tick()))
        kind = self.choose(st.sampled_from(["ready", "ready", "failed", "superseded", "nothing"]))
        if kind == "failed":
            self.feed(happened(events.ReloadFailed(self.tick(), revision, PROBLEM, None)))
        elif kind == "superseded":
            self.feed(happened(events.ReloadSuperseded(self.tick(), revision, revision + 1)))
        elif kind == "ready":
            self.generation += 1
            self.feed(ready(revision, self.generation, self.tick()))
            for name in "pq"[: self.choose(st.integers(0, 2))]:
                is_ok = self.choose(st.booleans())
                self.feed(probed(revision, self.generation, self.tick(), name=name, is_ok=is_ok))
            if self.choose(st.booleans()):
                self.feed(done(revision, self.generation, self.tick()))

    def finish(self):
        self.mend()
        self.resume()
        while self.waiting or self.state.dirty is not None:
            self.feed(Confirmed())
            self.acknowledge()
            if self.state.dirty is not None and not self.state.hold and not self.waiting:
                break
        self.feed(Ended(self.tick()))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_save_is_lost_and_each_iteration_ends_once_with_phases_that_sum(data):
    world = World(data.draw)
    names = ["save", "save", "acknowledge", "reload", "cut", "mend", "pause", "resume", "ask", "undo"]
    steps = data.draw(st.lists(st.sampled_from(names), max_size=25))

    for name in steps:
        getattr(world, name)()
        held = [state_save.paths for state_save in (world.state.dirty, world.state.taken) if state_save is not None]
        assert all(flight.number not in {i.number for i in world.iterations} for flight in world.state.flights)
        assert len(world.state.flights) + len(world.iterations) == world.started
        assert world.saved == world.unchanged.union(*world.sent, *held)  # no save is lost
        assert all(paths for paths in held)
    world.finish()

    numbers = [iteration.number for iteration in world.iterations]
    assert sorted(numbers) == list(range(1, world.started + 1))
    sent = {path for paths in world.sent for path in paths}
    assert {path for i in world.iterations for path in i.paths} - {"undone"} == sent
    for iteration in world.iterations:
        assert sum(iteration.phases_s.values()) == pytest.approx(iteration.feedback_s, abs=1e-3)
        assert all(seconds >= 0 for seconds in iteration.phases_s.values())
        assert iteration.outcome != "ok" or iteration.generation is not None


MOMENT = st.floats(0, 10)


@given(
    st.lists(st.one_of(st.none(), MOMENT), min_size=5, max_size=5),
    MOMENT, MOMENT, MOMENT, st.sampled_from([0.0, 0.01, 3.0, float("inf")]),
)  # fmt: skip
def test_phases_sum_to_the_whole_whatever_the_marks(marks, saved_s, seen_s, end_s, clock_error_s):
    phases = timeline.cut(timeline.Marks(saved_s, seen_s, *marks, clock_error_s), end_s)

    assert sum(phases.values()) == pytest.approx(max(end_s - saved_s, 0))
    assert tuple(name for name in phases if name not in {"environment", "other"}) == timeline.PHASES
    assert ("environment" in phases) == (marks[-1] is not None)
    assert min(phases.values()) >= 0


ORDERED = timeline.Marks(0.0, 0.01, 0.03, 0.04, 0.05, 0.06)


def test_time_that_a_missing_mark_leaves_unexplained_is_a_phase_of_its_own():
    phases = timeline.cut(replace(ORDERED, started_s=None), 0.08)

    assert phases == pytest.approx(
        {"detect": 0.01, "sync": 0.02, "apply": 0, "reload": 0, "warmup": 0.01, "first_output": 0.02, "other": 0.02}
    )
    assert timeline.other_ratio(phases) == pytest.approx(0.25)


@pytest.mark.parametrize("error_s", [-0.025, -0.015, 0.0, 0.015, 0.025])
def test_an_error_of_the_translated_clock_moves_no_time_between_the_runners_own_phases(error_s):
    """The line takes 20 ms each way: the runner's marks may be off by as much."""
    true = timeline.Marks(0.0, 0.01, 0.03, 0.04, 0.05, 0.06)
    told = timeline.Marks(
        0.0, 0.01, *(mark + error_s for mark in (true.applied_s, true.started_s, true.imported_s, true.ready_s)),
        clock_error_s=0.03,
    )  # fmt: skip

    phases, expected = timeline.cut(told, 0.08), timeline.cut(true, 0.08)

    own = ("apply", "reload", "warmup")
    assert [phases[name] for name in own] == pytest.approx([expected[name] for name in own])
    assert sum(phases.values()) == pytest.approx(0.08)
    assert "other" not in phases


def test_marks_of_a_clock_that_both_share_are_not_moved():
    late = replace(ORDERED, ready_s=0.09)

    assert timeline.cut(late, 0.08)["sync"] == pytest.approx(0.02)
    assert timeline.reconciled(late, 0.08) == late


def test_saves_gather_while_the_runner_does_not_answer_and_go_as_one_changeset():
    state, actions = play(
        saved(seen=9.0), snapshotted(1, at=9.001), happened(events.Offline(10.0, 0, "no route")),
        saved("a.py", seen=11.0), saved("b.py", seen=12.0),
    )  # fmt: skip
    assert emitted(actions, "offline") == [
        events.Offline(10.0, 1, "no route"), events.Offline(11.0, 2), events.Offline(12.0, 3),
    ]  # fmt: skip
    assert [action for action in actions if isinstance(action, Snapshot)] == [
        Snapshot(Save(frozenset(["app.py"]), 9.0))
    ]

    _, actions = play(happened(events.Online(20.0, 10.0)), state=state)
    assert actions == [Emit(events.Online(20.0, 10.0)), Snapshot(Save(frozenset(["a.py", "b.py"]), 12.0))]


def environment_ready(revision, at, *, was_cached=False):
    return happened(
        events.EnvironmentReady(at, revision, "requirements.txt", "d", "/e/bin/python", "3.11.7", 1.0, 3, was_cached)
    )


def test_an_iteration_that_waited_for_an_environment_is_marked_and_has_a_phase_for_it():
    state, _ = play(*trip(1, 10.0))
    fed = [*trip(2, 20.0)]
    progress = happened(events.EnvironmentProgress(20.1, 2, "requirements.txt", "resolve"))
    fed[3:3] = [progress, environment_ready(2, 24.003)]
    fed[5:] = [
        started(2, 24.004),
        ready(2, 2, 24.010),
        probed(2, 2, 24.03),
        Shown(24.031, 2, "p"),
        done(2, 2, 24.1),
    ]

    _, actions = play(*fed, state=state)

    (iteration,) = iterations(actions)
    assert (iteration.outcome, iteration.cause) == ("ok", "environment")
    assert list(iteration.phases_s)[:4] == ["detect", "sync", "environment", "apply"]
    assert iteration.phases_s["environment"] == pytest.approx(4.0)


def test_an_environment_that_can_not_be_made_ends_the_iteration_and_leaves_what_serves():
    state, _ = play(*trip(1, 10.0))
    failed = happened(events.EnvironmentFailed(22.0, 2, "requirements.txt", PROBLEM, "d", "requirements.txt"))

    state, actions = play(saved(seen=20.0), snapshotted(2, 20.001, 19.99), failed, Acked(2, 2, 20.1), state=state)

    (iteration,) = iterations(actions)
    assert (iteration.outcome, iteration.cause, iteration.problem) == ("failed", "environment", PROBLEM)
    assert state.serving == 1
    assert state.flights == ()


def test_an_edit_meanwhile_has_its_own_outcome():
    fed = [saved(seen=20.0), snapshotted(1, 20.001, 19.99), Acked(1, 1, 20.1)]
    fed += [happened(events.EnvironmentProgress(20.2, 1, "requirements.txt", "resolve")), *trip(2, 21.0)]

    _, actions = play(*fed)

    assert [(i.number, i.outcome, i.cause) for i in iterations(actions)] == [
        (1, "superseded", "environment"), (2, "ok", "code"),
    ]  # fmt: skip


def test_a_first_start_that_finds_its_environment_made_is_none_of_those():
    began = SaveTime(9.0, 1009.0, is_estimated=True)

    _, actions = play(
        Opened(began, 9.1, 9.2, 1), environment_ready(1, 9.3, was_cached=True), started(1, 9.4), ready(1, 1, 9.5),
        done(1, 1, 9.6, count=0),
    )  # fmt: skip

    (iteration,) = iterations(actions)
    assert (iteration.cause, "environment" in iteration.phases_s) == ("cold", False)


def test_a_loaded_model_is_the_cause_of_its_time():
    outcome = events.ModelOutcome("encoder", "loaded", "resident", "load.py:14 changed", 2.0)
    began = SaveTime(9.0, 1009.0, is_estimated=True)
    opened = [Opened(began, 9.1, 9.2, 1), started(1, 9.4), ready(1, 1, 9.5), done(1, 1, 9.6, count=0)]
    fed = [saved(seen=20.0), snapshotted(1, 20.001, 19.99), Acked(1, 2, 20.1), started(2, 20.2)]
    loaded = replace(ready(2, 2, 22.2).event, models=(outcome,))

    _, actions = play(*opened, *fed, happened(loaded), done(2, 2, 22.3, count=0))

    assert [iteration.cause for iteration in iterations(actions)] == ["cold", "model"]


def test_a_step_does_not_change_the_state_it_was_given():
    state, _ = play(saved(), snapshotted(1))
    before = replace(state)

    play(Acked(1, 1, 10.2), ready(1, 1, 10.3), state=state)

    assert state == before


def test_an_iteration_says_what_was_expected_of_its_cause_and_why_it_cost_what_it_cost():
    state = State(past={"code": (0.02, 0.04, 0.06)})

    state, actions = play(*trip(1, 10.0), *trip(2, 20.0), state=state)

    first, second = iterations(actions)
    assert (first.expected_s, first.why_code, first.why, first.fix) == (0.04, "code", "only code changed", "")
    assert second.expected_s == 0.04
    assert state.past["code"] == pytest.approx((0.02, 0.04, 0.06, 0.041, 0.041))


@pytest.mark.parametrize(("is_found", "start", "why_code"), [(True, "", "resumed"), (False, "standby", "cold")])
def test_a_first_start_that_found_the_app_running_is_no_cold_one(is_found, start, why_code):
    began = [] if is_found else [started(1, 10.1)]
    opened = Opened(SaveTime(9.0, 1009.0, is_estimated=True), 9.1, 9.2, 1)

    _, actions = play(opened, *began, ready(1, 1, 10.2), done(1, 1, 10.3, count=0))

    (iteration,) = iterations(actions)
    assert (iteration.start, iteration.why_code) == (start, why_code)
