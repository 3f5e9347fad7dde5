"""The processes of hosted models: whom they are connected to, and for how long requests wait for one."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from hotloop.gpu_runtime.holdings import Holdings
from hotloop.gpu_runtime.hosts import Hosts
from hotloop.gpu_runtime.user_env.wire import Message


@dataclass
class Process:
    """A worker or a host: keeps the headers that it is sent."""

    number: int
    sent: list[dict[str, Any]] = field(default_factory=list)
    pid: int = 1
    cause: str = "SIGKILL"

    @property
    def link(self) -> Any:
        return SimpleNamespace(send=lambda header, payload=b"", fds=(): self.sent.append(header))

    def connections(self) -> list[tuple[int, bool]]:
        return [(each["host"], each["is_replacement"]) for each in self.sent if each["kind"] == "hosted"]


class Fleet:
    """Forks nothing; what became of each process is told by a test."""

    def __init__(self) -> None:
        self.forked: list[Process] = []
        self.heard: Any = None
        self.gone: Any = None
        self.killed: list[int] = []

    def fork(self, number: int, zygote: Any, heard: Any, gone: Any, **_: str) -> Any:
        self.heard, self.gone = heard, gone
        self.forked.append(Process(number))
        return self.forked[-1]

    def prefer(self, *_: Any) -> None: ...

    def crash(self, number: int) -> None: ...

    def kill(self, number: int) -> None:
        self.killed.append(number)


class Case:
    """Two workers that call one hosted model: the active one, and the standby."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        self.num_waits = 0
        self.died: list[str] = []
        self.notices: list[dict[str, Any]] = []
        self.hosts = Hosts(
            self.fleet,  # pyright: ignore[reportArgumentType]
            Holdings(),
            lambda: self._wait(1),
            lambda: self._wait(-1),
            lambda name, _: self.died.append(name),
            self.notices.append,
            lambda _: None,
            lambda _, __: None,
        )
        self.active, self.standby = Process(1), Process(2)
        self.start(self.active)
        self.loaded(0)
        self.hosts.connect_all(self.standby)  # pyright: ignore[reportArgumentType]

    def _wait(self, more: int) -> None:
        self.num_waits += more

    def start(self, *waiting: Process, is_replacement: bool = False) -> None:
        self.hosts.start("llm", SimpleNamespace(), list(waiting), is_replacement=is_replacement)  # pyright: ignore[reportArgumentType]

    def replace(self) -> None:
        """The model's process dies, and another one begins to load it."""
        self.fleet.gone(self.fleet.forked[-1])
        self.start(self.active, self.standby, is_replacement=True)

    def say(self, place: int, header: dict[str, Any]) -> None:
        self.fleet.heard(self.fleet.forked[place], Message(header))

    def loaded(self, place: int) -> None:
        self.say(place, {"kind": "hosted", "model": "llm", "record": {}, "project_code": {}})

    def failed(self, place: int) -> None:
        self.say(place, {"kind": "failed", "problem": {"type": "OSError", "message": "no", "hint": ""}})

    def number(self, place: int) -> int:
        return self.fleet.forked[place].number


@pytest.fixture
def case() -> Case:
    return Case()


def test_requests_wait_until_a_model_whose_process_died_is_loaded_again(case: Case):
    case.replace()
    waits = case.num_waits
    case.loaded(1)

    assert (waits, case.num_waits, case.died) == (1, 0, ["llm"])
    assert case.active.connections() == case.standby.connections() == [(case.number(0), False), (case.number(1), True)]


def test_a_model_that_can_not_be_loaded_again_is_told_of_and_nobody_waits_any_longer(case: Case):
    case.replace()
    case.failed(1)

    assert (case.num_waits, case.active.sent[1:]) == (0, [])
    assert [notice["text"] for notice in case.notices] == ["model 'llm' could not be loaded again: OSError: no"]


def test_nobody_waits_any_longer_when_all_that_a_model_was_loaded_again_for_are_gone(case: Case):
    case.replace()
    case.hosts.released(1)
    case.hosts.released(2)

    assert (case.num_waits, case.fleet.killed) == (0, [case.number(1)])


def test_a_generation_without_the_model_waits_for_none(case: Case):
    case.replace()
    case.hosts.activated(2, set())
    waits = case.num_waits
    case.loaded(1)

    assert (waits, case.num_waits) == (0, 0)


def test_a_generation_with_the_model_waits_unless_it_has_one_of_its_own(case: Case):
    case.replace()
    case.hosts.activated(2, {"llm"})
    waits = case.num_waits
    case.start(case.standby)
    case.loaded(2)
    case.hosts.activated(2, {"llm"})

    assert (waits, case.num_waits) == (1, 0)


def test_who_asks_for_the_model_as_it_is_now_does_not_get_the_one_that_is_loaded_again(case: Case):
    case.replace()
    case.start(case.standby)
    case.loaded(1)
    before = case.standby.connections()[1:]
    case.loaded(2)

    assert (before, case.standby.connections()[1:]) == ([], [(case.number(2), False)])
    assert case.active.connections()[1:] == [(case.number(1), True)]


def test_who_has_asked_before_the_process_died_is_not_connected_to_what_is_loaded_again(case: Case):
    case.start(case.standby)
    case.fleet.gone(case.fleet.forked[0])
    case.start(case.active, case.standby, is_replacement=True)
    case.loaded(2)

    assert case.standby.connections()[1:] == []
    assert case.active.connections()[1:] == [(case.number(2), True)]


def test_one_that_was_given_up_and_replaced_before_its_end_was_seen_is_waited_for_no_longer(case: Case):
    case.hosts.give_up(case.number(0))
    waits = case.num_waits
    case.start(case.standby)
    case.loaded(1)
    case.fleet.gone(case.fleet.forked[0])

    assert (waits, case.num_waits, case.died) == (1, 0, [])
