"""A model in a process of its own answers as it would here, and its death is an error that says so."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hotloop.gpu_runtime.user_env.hosted import HostedModelDied, HostedModelError, Proxy, host, project_code_in
from hotloop.gpu_runtime.user_env.source import Project
from hotloop.gpu_runtime.user_env.wire import Link


class Odd(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Session:
    def __init__(self) -> None:
        self.file = Path(os.devnull).open()  # noqa: SIM115
        self.turns: list[str] = []

    def say(self, text: str) -> int:
        self.turns.append(text)
        return len(self.turns)


class Engine:
    size = 3

    def __call__(self, text: str, *, times: int = 1) -> str:
        return text * times

    def words(self, count: int) -> Iterator[str]:
        for number in range(count):
            yield f"w{number}"

    def start(self) -> Session:
        return Session()

    def turns_of(self, session: Session) -> list[str]:
        return session.turns

    def fail(self) -> None:
        raise KeyError("beam")  # noqa: EM101

    def fail_oddly(self) -> None:
        raise Odd(1, 2)

    def same(self, value: object) -> object:
        return value

    def __len__(self) -> int:
        return 12


@dataclass
class Host:
    pid: int
    control: Link

    def connect(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        self.control.send({"kind": "connect"}, b"", (theirs.fileno(),))
        theirs.close()
        return ours

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def start() -> Host:
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        host(Engine(), Link(theirs))
        os._exit(0)
    theirs.close()
    return Host(pid, Link(ours))


@pytest.fixture
def running() -> Iterator[Host]:
    started = start()
    yield started
    started.control.close()
    try:
        os.waitpid(started.pid, 0)
    except ChildProcessError:
        return


@pytest.fixture
def engine(running: Host) -> Proxy:
    return Proxy("llm", running.connect())


def test_call_and_attributes_are_those_of_the_model(engine: Proxy) -> None:
    assert (engine("ab", times=2), engine.size, len(engine)) == ("abab", 3, 12)


def test_attribute_that_is_set_is_set_for_all_workers(engine: Proxy, running: Host) -> None:
    engine.size = 9

    assert Proxy("llm", running.connect()).size == 9


def test_generator_is_a_stream(engine: Proxy) -> None:
    stream = engine.words(3)

    assert next(stream) == "w0"
    assert list(stream) == ["w1", "w2"]


def test_what_can_not_be_passed_stays_there_and_can_be_used(engine: Proxy) -> None:
    session = engine.start()

    assert [session.say("a"), session.say("b")] == [1, 2]
    assert engine.turns_of(session) == ["a", "b"]


def test_exception_has_its_type_and_the_hosts_traceback(engine: Proxy) -> None:
    with pytest.raises(KeyError, match="beam") as caught:
        engine.fail()

    assert "in fail" in caught.value.__notes__[0]


def test_exception_that_can_not_be_rebuilt_is_said_by_name(engine: Proxy) -> None:
    with pytest.raises(HostedModelError, match="Odd: 1 and 2"):
        engine.fail_oddly()


def test_large_buffer_passes_unchanged(engine: Proxy) -> None:
    data = bytearray(os.urandom(3_000_000))

    assert engine.same(data) == data


def test_calls_of_several_threads_get_their_own_answers(engine: Proxy) -> None:
    answers: dict[int, str] = {}
    threads = [threading.Thread(target=lambda n=n: answers.update({n: engine(str(n))})) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == {n: str(n) for n in range(16)}


def test_dead_host_is_an_error_and_a_new_one_is_used_after_reconnecting(engine: Proxy, running: Host) -> None:
    engine.size  # noqa: B018
    running.kill()

    with pytest.raises(HostedModelDied, match="'llm' died"):
        engine("a")

    fresh = start()
    engine.reconnect(fresh.connect())
    assert engine("a") == "a"
    fresh.kill()


def test_session_of_a_dead_host_does_not_become_one_of_the_new_host(engine: Proxy, running: Host) -> None:
    session = engine.start()
    running.kill()
    fresh = start()
    engine.reconnect(fresh.connect())

    with pytest.raises(HostedModelDied):
        session.say("a")
    fresh.kill()


def test_project_code_in_a_model_is_found(tmp_path: Path) -> None:
    here = Project(str(Path(__file__).parent))
    elsewhere = Project(str(tmp_path))

    function = lambda: 1  # noqa: E731
    assert project_code_in({"callbacks": [function]}, here) == [function]
    assert project_code_in({"callbacks": [len, Path("/")]}, elsewhere) == []
