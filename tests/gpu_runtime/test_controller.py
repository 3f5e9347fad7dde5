"""The reload controller against a simulated machine: processes that warm up, become ready, fail and die in any order."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotloop.events import Problem
from hotloop.gpu_runtime import controller
from hotloop.gpu_runtime import controller_actions as do
from hotloop.gpu_runtime import controller_events as on
from hotloop.gpu_runtime.controller_state import State

PROBLEM = Problem("NameError", "name 'x' is not defined")


@dataclass
class Machine:
    """Carries out actions on paper, and remembers what was said."""

    replicas: int = 1
    state: State = field(default_factory=State)
    alive: dict[int, str] = field(default_factory=dict)
    zygotes: set[int] = field(default_factory=set)
    runs: dict[int, int] = field(default_factory=dict)
    serving: int = 0
    served_revisions: list[int] = field(default_factory=list)
    log: list[do.Action] = field(default_factory=list)
    environment: int = 0
    environments: dict[tuple[str, int], int] = field(default_factory=dict)

    def feed(self, event: on.Event) -> tuple[do.Action, ...]:
        self.state, actions = controller.step(self.state, event)
        for action in actions:
            self._do(action)
        self.log += actions
        return actions

    def _do(self, action: do.Action) -> None:
        match action:
            case do.StartZygote():
                self.zygotes.add(action.zygote)
                self.environments["zygote", action.zygote] = self.environment
            case do.StopZygote():
                self.zygotes.discard(action.zygote)
            case do.Fork():
                assert action.zygote in self.zygotes
                assert action.worker not in self.alive
                self.environments["worker", action.worker] = self.environments["zygote", action.zygote]
                self.alive[action.worker] = "warming"
            case do.Go():
                assert self.alive[action.worker] in {"warming", "warm"}
                self.alive[action.worker] = "loading"
                self.runs[action.worker] = action.revision
            case do.Replicate():
                assert self.alive[action.worker] == "warming"
                self.alive[action.worker] = "joining"
                self.runs[action.worker] = self.runs[self.having("active")[0]]
                assert self.runs[action.worker] == self.state.revision
            case do.Join():
                assert self.alive[action.worker] == "joining"
                assert action.generation == self.state.generation
                self.alive[action.worker] = "active"
            case do.Activate():
                assert self.alive[action.worker] == "loading"
                assert self.runs[action.worker] == self.state.revision
                self.alive[action.worker] = "active"
                self.serving = action.worker
                self.served_revisions.append(self.runs[action.worker])
            case do.Drain():
                assert self.alive[action.worker] == "active"
                self.alive[action.worker] = "draining"
            case do.Kill() | do.Retire():
                assert self.alive.pop(action.worker) != "active"
            case _:
                pass

    def change_environment(self, revision: int) -> tuple[do.Action, ...]:
        self.environment += 1
        return self.feed(on.EnvironmentChanged(revision))

    def lose_zygote(self, number: int, at_s: float) -> tuple[do.Action, ...]:
        """A zygote dies; one that can't be had in another environment has the runtime go back to the one before."""
        self.zygotes.discard(number)
        was_switching = self.state.switching
        actions = self.feed(on.ZygoteDown(number, at_s, PROBLEM))
        if was_switching is not None and self.state.switching is None:
            self.environment = self.environments["zygote", self.state.zygote]
        return actions

    def having(self, role: str) -> list[int]:
        return sorted(n for n, r in self.alive.items() if r == role)

    def start(self) -> None:
        self.feed(on.Started())
        self.feed(on.ZygoteUp(1))
        self.feed(on.Revised(1))
        self.feed(on.BecameReady(self.having("loading")[0], self.replicas))
        self.feed(on.Grow(1))
        for number in self.having("joining"):
            self.feed(on.BecameReady(number, self.replicas))
        self.feed(on.Probed(1))
        self.feed(on.Warmed(self.having("warming")[0]))
        self.alive[self.having("warming")[0]] = "warm"


def test_first_revision_forks_a_worker_and_then_a_standby():
    machine = Machine()

    machine.start()

    assert machine.having("active") == [1]
    assert machine.having("warm") == [2]


def test_save_goes_to_the_standby_and_the_old_worker_drains():
    machine = Machine()
    machine.start()

    assert machine.feed(on.Revised(2)) == (do.Go(2, 2, "standby"),)
    assert machine.feed(on.BecameReady(2)) == (do.Activate(2, 2), do.Drain(1), do.RunProbes(2))
    assert machine.feed(on.Drained(1)) == (do.Retire(1),)
    assert machine.feed(on.Probed(2)) == (do.Fork(3, 1),)


def test_next_standby_waits_for_the_probes():
    machine = Machine()
    machine.start()
    machine.feed(on.Revised(2))
    machine.feed(on.BecameReady(2))

    assert machine.having("warming") == []


def test_failure_leaves_the_old_generation_active_and_forks_a_standby():
    machine = Machine()
    machine.start()
    machine.feed(on.Revised(2))

    actions = machine.feed(on.Failed(2, PROBLEM))

    assert actions == (do.TellFailed(2, PROBLEM), do.Kill(2), do.Fork(3, 1))
    assert machine.having("active") == [1]


def test_newer_save_supersedes_one_under_way():
    machine = Machine()
    machine.start()
    machine.feed(on.Revised(2))

    actions = machine.feed(on.Revised(3))

    assert actions == (do.Kill(2), do.TellSuperseded(2, 3), do.Fork(3, 1), do.Go(3, 3, "fork"))


def test_superseded_worker_that_is_ready_after_all_is_not_activated():
    machine = Machine()
    machine.start()
    machine.feed(on.Revised(2))
    machine.feed(on.Revised(3))

    assert machine.feed(on.BecameReady(2)) == ()


def test_death_of_the_active_worker_is_healed_by_the_standby():
    machine = Machine()
    machine.start()
    machine.alive.pop(1)

    actions = machine.feed(on.Died(1, 5.0, "SIGKILL", PROBLEM))

    assert actions == (do.TellDied("active", 1, "SIGKILL"), do.Go(2, 1, "standby"))


def test_crash_loop_stops_and_the_next_save_tries_again():
    machine = Machine()
    machine.start()
    for at_s in (1.0, 2.0):
        active = machine.having("active")[0]
        machine.alive.pop(active)
        machine.feed(on.Died(active, at_s, "SIGSEGV", PROBLEM))
        machine.feed(on.BecameReady(machine.having("loading")[0]))
    active = machine.having("active")[0]
    machine.alive.pop(active)

    actions = machine.feed(on.Died(active, 3.0, "SIGSEGV", PROBLEM))

    assert actions == (do.TellDied("active", active, "SIGSEGV"), do.TellFailed(1, PROBLEM))
    assert any(isinstance(a, do.Go) for a in machine.feed(on.Revised(2)))


def test_death_of_the_zygote_starts_another_and_kills_nobody():
    machine = Machine()
    machine.start()

    actions = machine.feed(on.ZygoteDown(1, 1.0, PROBLEM))

    assert actions == (do.TellDied("zygote", 0, PROBLEM.message), do.StartZygote(2))
    assert machine.having("active") == [1]


def test_a_worker_that_its_zygote_did_not_get_to_fork_fails_nothing_and_another_goes():
    machine = Machine()
    machine.start()
    machine.feed(on.Revised(2))
    (asked,) = machine.having("loading")
    machine.feed(on.ZygoteDown(1, 1.0, PROBLEM))
    machine.alive.pop(asked)

    assert machine.feed(on.NeverForked(asked)) == ()
    assert machine.feed(on.ZygoteUp(2)) == (do.Fork(3, 2), do.Go(3, 2, "zygote"))
    assert machine.feed(on.NeverForked(asked)) == ()


def test_a_standby_that_its_zygote_did_not_get_to_fork_is_no_crash():
    machine = Machine()
    machine.start()
    machine.feed(on.Revised(2))
    machine.feed(on.BecameReady(2, 1))
    machine.feed(on.Probed(2))
    (standby,) = machine.having("warming")
    machine.alive.pop(standby)

    for _ in range(5):
        (fork,) = machine.feed(on.NeverForked(standby))
        assert isinstance(fork, do.Fork)
        (standby,) = machine.having("warming")
        machine.alive.pop(standby)


def test_better_zygote_replaces_the_standby_only_when_the_new_one_is_warm():
    machine = Machine()
    machine.start()
    machine.feed(on.Relearned())

    assert machine.feed(on.ZygoteUp(2)) == (do.StopZygote(1), do.Fork(3, 2))
    assert machine.feed(on.Warmed(3)) == (do.Kill(2),)


def test_standby_that_warms_up_late_does_not_kill_a_newer_one():
    machine = Machine()
    machine.start()
    machine.feed(on.Relearned())
    machine.feed(on.ZygoteUp(2))

    assert machine.feed(on.Warmed(2)) == ()
    assert machine.having("warming") == [3]


def test_save_while_the_new_standby_warms_up_takes_the_warm_one():
    machine = Machine()
    machine.start()
    machine.feed(on.Relearned())
    machine.feed(on.ZygoteUp(2))

    assert machine.feed(on.Revised(2)) == (do.Go(2, 2, "standby"),)


def test_stale_zygote_is_replaced_before_the_reload():
    machine = Machine()
    machine.start()

    assert machine.feed(on.Revised(2, is_zygote_stale=True)) == (do.Kill(2), do.StopZygote(1), do.StartZygote(2))
    assert machine.feed(on.ZygoteUp(2)) == (do.Fork(3, 2), do.Go(3, 2, "zygote"))


def test_asked_reload_restarts_one_under_way():
    machine = Machine()
    machine.start()
    machine.feed(on.Revised(2))

    assert machine.feed(on.Asked()) == (do.Kill(2), do.Fork(3, 1), do.Go(3, 2, "fork"))


def test_a_cold_restart_serves_on_until_a_new_zygotes_worker_is_ready():
    machine = Machine()
    machine.start()

    assert machine.feed(on.Asked(is_cold=True)) == (do.Kill(2), do.StopZygote(1), do.StartZygote(2))
    assert machine.feed(on.ZygoteUp(2)) == (do.Fork(3, 2), do.Go(3, 1, "zygote"))
    assert machine.feed(on.BecameReady(3)) == (do.Activate(3, 2), do.Drain(1), do.RunProbes(2))


def test_nothing_happens_after_stop():
    machine = Machine()
    machine.start()

    assert machine.feed(on.Stop()) == (do.Exit(),)
    assert machine.feed(on.Revised(2)) == ()


# --- several workers --------------------------------------------------------------------------------------------


def test_the_others_are_forked_when_the_first_served_for_a_moment_and_the_standby_after_the_probes():
    machine = Machine(replicas=3)
    machine.start()
    machine.feed(on.Revised(2))

    assert machine.feed(on.BecameReady(4, 3)) == (
        do.Activate(4, 2),
        do.Drain(1),
        do.Drain(2),
        do.Drain(3),
        do.RunProbes(2),
    )
    assert machine.feed(on.Grow(2)) == (do.Fork(5, 1), do.Replicate(5, 2), do.Fork(6, 1), do.Replicate(6, 2))
    assert machine.feed(on.BecameReady(6, 3)) == (do.Join(6, 2),)
    assert machine.feed(on.Probed(2)) == (do.Fork(7, 1),)


def test_a_generation_that_was_replaced_does_not_grow():
    machine = Machine(replicas=2)
    machine.start()

    assert machine.feed(on.Grow(0)) == ()


def test_a_save_abandons_those_that_are_joining():
    machine = Machine(replicas=2)
    machine.start()
    machine.feed(on.Died(1, 1.0, "SIGKILL", PROBLEM))
    assert machine.having("joining") == [4]

    assert machine.feed(on.Revised(2)) == (do.Kill(4), do.Go(3, 2, "standby"))
    assert machine.feed(on.BecameReady(4, 2)) == ()


def test_a_worker_that_dies_beside_others_is_replaced_by_a_fork_and_the_standby_stays():
    machine = Machine(replicas=2)
    machine.start()
    machine.alive.pop(1)

    actions = machine.feed(on.Died(1, 5.0, "SIGKILL", PROBLEM))

    assert actions == (do.TellDied("active", 1, "SIGKILL"), do.Fork(4, 1), do.Replicate(4, 1))
    assert machine.state.generation == 1


def test_the_death_of_the_last_worker_begins_another_generation():
    machine = Machine(replicas=2)
    machine.start()
    machine.alive.pop(1)
    machine.feed(on.Died(1, 5.0, "SIGKILL", PROBLEM))
    machine.alive.pop(2)

    actions = machine.feed(on.Died(2, 6.0, "SIGKILL", PROBLEM))

    assert actions == (do.TellDied("active", 2, "SIGKILL"), do.Kill(4), do.Go(3, 1, "standby"))


@pytest.mark.parametrize("event", [on.Failed(2, PROBLEM), on.Died(2, 1.0, "SIGKILL", PROBLEM)])
def test_one_that_can_t_join_is_told_and_not_tried_again_until_the_next_generation(event):
    machine = Machine(replicas=2)
    machine.feed(on.Started())
    machine.feed(on.ZygoteUp(1))
    machine.feed(on.Revised(1))
    machine.feed(on.BecameReady(1, 2))
    machine.feed(on.Grow(1))

    assert machine.feed(event) == (do.TellFewer(1, PROBLEM), do.Kill(2))
    assert machine.feed(on.Probed(1)) == (do.Fork(3, 1),)
    machine.feed(on.Revised(2))
    machine.feed(on.BecameReady(3, 2))
    assert machine.feed(on.Grow(2)) == (do.Fork(4, 1), do.Replicate(4, 2))


@pytest.mark.parametrize(
    "crashes", [controller.CRASHES_ALLOWED - 1, controller.CRASHES_ALLOWED, controller.CRASHES_ALLOWED + 1]
)
def test_workers_that_keep_dying_are_not_replaced_beyond_the_limit_but_the_others_serve(crashes):
    machine = Machine(replicas=8)
    machine.start()

    for n in range(crashes):
        machine.alive.pop(n + 1)
        machine.feed(on.Died(n + 1, float(n), "SIGSEGV", PROBLEM))

    told = [a for a in machine.log if isinstance(a, do.TellFewer)]
    assert len(told) == max(0, crashes - controller.CRASHES_ALLOWED + 1)
    assert len(machine.having("joining")) == min(crashes, controller.CRASHES_ALLOWED - 1)
    assert len(machine.having("active")) == 8 - crashes


@pytest.mark.parametrize("deaths", [1, controller.CRASHES_ALLOWED - 1, controller.CRASHES_ALLOWED])
def test_standbys_that_die_before_they_are_warm_are_given_up_at_the_limit_however_slowly(deaths):
    machine = Machine()
    machine.start()
    machine.feed(on.Probed(1))
    machine.feed(on.Warmed(machine.state.having("standby").number))

    for n in range(deaths + 1):  # the first one was warm, which is another matter
        number = machine.state.having("standby").number
        machine.alive.pop(number)
        machine.feed(on.Died(number, 100.0 * n, "SIGKILL", PROBLEM))

    told = [action.is_replaced for action in machine.log if isinstance(action, do.TellDied)]
    is_over = deaths >= controller.CRASHES_ALLOWED
    assert told == [True] * deaths + [not is_over]
    assert (machine.state.having("standby") is None) == is_over
    assert any(isinstance(action, do.Go) for action in machine.feed(on.Revised(2)))


def test_no_worker_joins_while_the_workspace_holds_a_revision_that_failed():
    machine = Machine(replicas=2)
    machine.start()
    machine.feed(on.Revised(2))
    machine.feed(on.Failed(3, PROBLEM))
    machine.alive.pop(1)

    assert machine.feed(on.Died(1, 5.0, "SIGKILL", PROBLEM)) == (do.TellDied("active", 1, "SIGKILL"),)


def test_a_reload_that_was_asked_for_and_failed_leaves_nothing_missing():
    machine = Machine(replicas=2)
    machine.start()
    machine.feed(on.Died(1, 5.0, "SIGKILL", PROBLEM))
    machine.alive.pop(1)
    machine.feed(on.Asked())

    assert machine.feed(on.Failed(3, PROBLEM))[2:] == (do.Fork(5, 1), do.Replicate(5, 1), do.Fork(6, 1))


def test_the_others_wait_for_a_better_zygote_that_is_on_its_way():
    machine = Machine(replicas=2)
    machine.feed(on.Started())
    machine.feed(on.ZygoteUp(1))
    machine.feed(on.Revised(1))
    machine.feed(on.BecameReady(1, 2))
    machine.feed(on.Relearned())

    assert machine.feed(on.Grow(1)) == ()
    assert machine.feed(on.ZygoteUp(2)) == (do.StopZygote(1), do.Fork(2, 2), do.Replicate(2, 1))


@pytest.mark.parametrize(("wanted", "num_forked"), [(1, 0), (2, 1), (3, 2)])
def test_an_app_may_want_another_number_of_workers_after_a_save(wanted, num_forked):
    machine = Machine(replicas=2)
    machine.start()
    machine.feed(on.Revised(2))
    machine.feed(on.BecameReady(3, wanted))

    assert len(machine.feed(on.Grow(2))) == 2 * num_forked


CHOICES = st.lists(
    st.tuples(st.sampled_from(["save", "warm", "ready", "fail", "move", "die", "drain", "probe", "grow", "zygote", "kill zygote",
                               "environment", "held save", "ask", "never forked"]),
              st.integers(0, 5)),
    max_size=60,
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(CHOICES, st.integers(1, 3))
def test_after_any_history_the_newest_revision_is_served_by_all_its_workers(choices, replicas):
    machine = Machine(replicas)
    machine.feed(on.Started())
    revision, now_s = 0, 0.0
    for what, index in choices:
        now_s += 20.0
        revision = _happen(machine, what, index, revision, now_s)
        assert len(machine.having("active")) <= replicas
        assert len({machine.runs[number] for number in machine.having("active")}) <= 1
        assert len(machine.having("loading")) <= 1
    revision += 1
    machine.feed(on.Revised(revision))

    _settle(machine)

    assert machine.served_revisions == sorted(machine.served_revisions)
    assert machine.served_revisions[-1] == revision
    assert sorted(machine.alive.values()) == [*["active"] * replicas, "warm"]
    assert len(machine.zygotes) == 1
    assert {machine.environments["worker", number] for number in machine.alive} == {machine.environment}


def _happen(machine: Machine, what: str, index: int, revision: int, now_s: float) -> int:  # noqa: C901
    def pick(*roles: str) -> int | None:
        found = [n for role in roles for n in machine.having(role)]
        return found[index % len(found)] if found else None

    loading, warming, draining = pick("loading", "joining"), pick("warming"), pick("draining")
    if what == "save":
        machine.feed(on.Revised(revision + 1, is_zygote_stale=index == 5))
        return revision + 1
    if what == "warm" and warming:
        machine.alive[warming] = "warm"
        machine.feed(on.Warmed(warming))
    elif what == "ready" and loading:
        machine.feed(on.BecameReady(loading, machine.replicas))
    elif what == "fail" and loading:
        machine.feed(on.Failed(loading, PROBLEM))
    elif what == "move" and loading:
        machine.feed(on.Moved(loading))
    elif what == "die" and (number := pick("active", "warm", "warming", "draining", "loading", "joining")):
        if machine.alive[number] not in {"loading", "joining"}:
            machine.alive.pop(number)
        machine.feed(on.Died(number, now_s, "SIGKILL", PROBLEM))
    elif what == "never forked" and (number := pick("warming", "loading", "joining")):
        machine.alive.pop(number)
        machine.feed(on.NeverForked(number))
    elif what == "drain" and draining:
        machine.feed(on.Drained(draining))
    elif what == "grow":
        machine.feed(on.Grow(machine.state.generation))
    elif what == "probe":
        machine.feed(on.Probed(machine.state.generation))
    elif what == "zygote" and machine.state.next_zygote:
        machine.feed(on.ZygoteUp(machine.state.next_zygote))
    elif what == "kill zygote" and machine.zygotes:
        machine.lose_zygote(sorted(machine.zygotes)[index % len(machine.zygotes)], now_s)
    elif what == "environment":
        machine.change_environment(revision)
    elif what == "ask":
        machine.feed(on.Asked(is_cold=index % 2 == 1))
    elif what == "held save":
        machine.change_environment(revision + 1)
        return revision + 1
    return revision


def _settle(machine: Machine) -> None:
    for _ in range(20):
        if machine.state.next_zygote:
            machine.feed(on.ZygoteUp(machine.state.next_zygote))
        for number in machine.having("warming"):
            if number in machine.alive:
                machine.alive[number] = "warm"
                machine.feed(on.Warmed(number))
        for number in [*machine.having("loading"), *machine.having("joining")]:
            machine.feed(on.BecameReady(number, machine.replicas))
        for number in machine.having("draining"):
            machine.feed(on.Drained(number))
        machine.feed(on.Grow(machine.state.generation))
        machine.feed(on.Probed(machine.state.generation))


@pytest.mark.parametrize(
    "crashes", [controller.CRASHES_ALLOWED - 1, controller.CRASHES_ALLOWED, controller.CRASHES_ALLOWED + 1]
)
def test_zygote_that_keeps_dying_is_given_up_at_the_limit(crashes):
    machine = Machine()
    machine.feed(on.Started())
    machine.feed(on.Revised(1))

    for n in range(crashes):
        machine.feed(on.ZygoteDown(machine.state.next_zygote, float(n), PROBLEM))

    told = [a for a in machine.log if isinstance(a, do.TellFailed)]
    assert bool(told) == (crashes >= controller.CRASHES_ALLOWED)


def test_an_environment_that_changes_before_the_first_revision_is_the_one_that_runs_it():
    machine = Machine()
    machine.feed(on.Started())
    machine.feed(on.ZygoteUp(1))
    machine.change_environment(0)
    machine.feed(on.Revised(1))

    assert machine.feed(on.ZygoteUp(2))[-1] == do.Go(machine.having("loading")[0], 1, "zygote")
    assert machine.environments["worker", machine.having("loading")[0]] == 1


def test_another_environment_lets_saves_go_on_until_its_zygote_is_up_then_runs_the_newest_revision():
    machine = Machine()
    machine.start()

    assert machine.change_environment(2) == (do.StartZygote(2),)
    assert machine.feed(on.Revised(3)) == (do.Go(2, 3, "standby"),)
    machine.feed(on.BecameReady(2))
    actions = machine.feed(on.ZygoteUp(2))

    assert actions == (do.StopZygote(1), do.Fork(3, 2), do.Go(3, 3, "zygote"))
    assert machine.having("active") == [2]
    assert machine.feed(on.BecameReady(3))[:2] == (do.Activate(3, 3), do.Drain(2))


def test_a_revision_that_waited_for_its_environment_runs_when_that_is_there():
    machine = Machine()
    machine.start()

    machine.change_environment(2)

    assert machine.feed(on.ZygoteUp(2)) == (do.StopZygote(1), do.Kill(2), do.Fork(3, 2), do.Go(3, 2, "zygote"))


def test_what_loads_in_the_old_environment_is_let_go_when_the_new_one_is_there():
    machine = Machine()
    machine.start()
    machine.feed(on.Revised(2))
    machine.change_environment(2)

    assert machine.feed(on.ZygoteUp(2)) == (do.StopZygote(1), do.Kill(2), do.Fork(3, 2), do.Go(3, 2, "zygote"))


def test_an_environment_without_a_zygote_leaves_the_old_one_serving_and_making_workers():
    machine = Machine()
    machine.start()
    machine.change_environment(2)

    assert machine.lose_zygote(2, 1.0) == (do.TellFailed(2, PROBLEM),)
    assert machine.having("active") == [1]
    assert machine.feed(on.Revised(3)) == (do.Go(2, 3, "standby"),)
