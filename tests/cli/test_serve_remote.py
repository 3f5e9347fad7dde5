"""`dev serve` of an app on another machine, as far as its ports go: a real agent and runtime behind a line."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
import pytest
from tests.gpu_runtime.grpc_front.calling import Client
from tests.remote_runner.line import Line

from hotloop import events
from hotloop.cli.serving import resolve
from hotloop.cli.starting import Choice
from hotloop.cli.status import serving
from hotloop.devloop import control, ending
from hotloop.devloop.engine import Engine
from hotloop.devloop.forward import forward_for
from hotloop.devloop.ignore import Ignore
from hotloop.devloop.index import HASHED_AHEAD_BYTES, Index
from hotloop.errors import RunnerError
from hotloop.gpu_runtime.grpc_front import serving_pb2 as pb
from hotloop.remote_runner import onlooker
from hotloop.remote_runner.client import connect
from hotloop.remote_runner.local import LocalWay
from hotloop.remote_runner.who import who_am_i

BARE_PYTHON = str(Path(sys.base_prefix) / "bin" / "python3")
DEADLINE_S = 30.0
APP = """
import os
import time

import hotloop

app = hotloop.App("tiny")


@app.endpoint
def greet(name: str) -> str:
    return f"hello {name}"


@app.endpoint
def count():
    for number in range(3):
        yield number
        while number == 0 and not os.path.exists("go"):
            time.sleep(0.01)
"""

pytestmark = pytest.mark.timeout(90)


@contextlib.asynccontextmanager
async def served(project, state, **choice):
    """Serve a project through a line; gives the line, the engine and what it said."""
    options = resolve(Choice(project, None, BARE_PYTHON, None, is_json=True, **{"port": 0, **choice}))
    ignore = Ignore(project)
    line, said = Line(state, num_lanes=2), []
    try:
        async with connect(line) as agent:
            engine = Engine(
                options, agent, Index(project, ignore), ignore, [said.append], forward_for(line, options.session_id)
            )
            running = asyncio.create_task(engine.run())
            try:
                await until(lambda: running.done() or (engine.address and of(said, events.IterationFinished)), "start")
                if running.done():
                    await running
                yield line, engine, said
            finally:
                line.mend()
                engine.stop("", 0)
                await asyncio.gather(running, return_exceptions=True)
    finally:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            os.kill(int((state / "agent/pid").read_text()), signal.SIGKILL)


def of(said, kind):
    return [event for event in said if isinstance(event, kind)]


async def until(is_true, what="it"):
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline_s, f"{what} did not happen"
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def connected(address):
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=DEADLINE_S)
    try:
        yield connection
    finally:
        connection.close()


def greet(address, name="Bo"):
    with connected(address) as connection:
        connection.request("POST", "/greet", json.dumps({"name": name}), {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode().strip()


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    return folder


def test_an_app_on_another_machine_is_served_here_across_cuts_and_crashes(project, tmp_path):
    state = tmp_path / "state"

    async def main():
        async with served(project, state, grpc_port=0) as (line, engine, said):
            (started,) = of(said, events.RuntimeStarted)
            assert engine.address == started.address
            runtime_pid = started.pid
            assert await asyncio.to_thread(greet, engine.address) == (200, '"hello Bo"')
            with grpc.insecure_channel(started.grpc_address) as channel:
                request = pb.Request(endpoint="greet", body=b'{"name": "Al"}')
                assert (await asyncio.to_thread(Client(channel).call, request)).body == b'"hello Al"'

            await asyncio.to_thread(stream, engine.address, project, state)

            line.cut()
            answers = [await asyncio.to_thread(greet, engine.address)]
            while answers[-1][0] == 502:  # sent before the cut was seen: it may have run
                answers.append(await asyncio.to_thread(greet, engine.address))
            assert answers[-1] == (200, '"hello Bo"')

            os.kill(runtime_pid, signal.SIGKILL)
            await until(lambda: len(of(said, events.RuntimeStarted)) == 2, "another runtime")
            assert await asyncio.to_thread(greet, engine.address, "Cy") == (200, '"hello Cy"')
            first, second = of(said, events.RuntimeStarted)
            return first.address == second.address, (first.grpc_address, second.grpc_address), first.address

    is_same, (grpc_address, again), address = asyncio.run(main())

    assert is_same
    assert grpc_address == again
    for each in (address.removeprefix("http://"), grpc_address):
        host, _, port = each.rpartition(":")
        with socket.socket() as probe:
            assert probe.connect_ex((host, int(port))) != 0


def test_named_variables_of_this_machine_reach_the_app_and_no_file(project, tmp_path, monkeypatch):
    (project / "pyproject.toml").write_text('[tool.hotloop]\npass_env = ["TOKEN_OF_MINE", "NOT_SET_HERE"]\n')
    (project / "app.py").write_text(APP + "\n\n@app.probe\ndef token():\n    return len(os.environ['TOKEN_OF_MINE'])\n")
    state = tmp_path / "state"

    async def main():
        way = LocalWay(state)
        await way.dial(0)  # starts the agent, whose own variables lack it
        await way.close()
        monkeypatch.setenv("TOKEN_OF_MINE", "s3cret-value")
        async with served(project, state, on="me@gpu1") as (line, _, said):
            return of(said, events.ProbeFinished), said, await onlooker.ask(line, "status")

    (probe,), said, status = asyncio.run(main())
    files = [path for folder in (state, project) for path in folder.rglob("*") if path.is_file()]

    assert probe.output == "12"
    assert files
    assert not [path for path in files if b"s3cret" in path.read_bytes()]
    assert "s3cret" not in repr(said) + json.dumps(status)


def stream(address, project, state):
    """The first item is there while the app waits with the second."""
    (workspace,) = (state / "sessions").glob("*/tree")
    with connected(address) as connection:
        connection.request("POST", "/count", "{}", {"content-type": "application/json", "accept": "text/event-stream"})
        answer = connection.getresponse()
        first = answer.readline()
        (workspace / "go").touch()
        rest = answer.read()
    assert b"0" in first
    assert b"2" in rest


def test_status_says_on_which_machine_an_address_holds_and_where_this_one_has_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOTLOOP_STATE_DIR", str(tmp_path))
    session = {
        "project_id": "0123456789abcdef", "generation": 2, "address": "http://127.0.0.1:39499",
        "is_held": True, "holder": who_am_i(), "holder_pid": 42,
    }  # fmt: skip

    async def answer(_):
        return {"pid": 42, "address": "http://127.0.0.1:8000"}

    async def main():
        async with control.listening(control.control_path(tmp_path, session["project_id"]), answer):
            asked = [(session, "gpu1"), ({**session, "holder_pid": 43}, "gpu1"), (session, "local")]
            return [await asyncio.to_thread(serving, *each) for each in asked]

    assert asyncio.run(main()) == [
        "generation 2 at http://127.0.0.1:8000 (http://127.0.0.1:39499 on gpu1)",
        "generation 2 at http://127.0.0.1:39499 on gpu1",
        "generation 2 at http://127.0.0.1:39499",
    ]
    assert serving(session, "gpu1") == "generation 2 at http://127.0.0.1:39499 on gpu1"


def test_a_port_that_is_taken_here_gives_way_or_is_an_error_whatever_is_free_there(project, tmp_path):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            async with served(project, tmp_path / "state", port=port) as (_, engine, said):
                notices = [event.text for event in of(said, events.Notice) if event.key == "port"]
                assert await asyncio.to_thread(greet, engine.address) == (200, '"hello Bo"')
                address = engine.address
            with pytest.raises(RunnerError, match=f"port {port} on 127.0.0.1 is in use by .*{os.getpid()}"):
                async with served(project, tmp_path / "state", port=port, is_port_strict=True):
                    pass
            return port, address, notices

    port, address, notices = asyncio.run(main())

    served_port = int(address.rpartition(":")[2])
    assert port < served_port <= port + 20
    assert [f"; serving on {served_port}" in notice for notice in notices] == [True]


def test_on_this_machine_the_runtime_listens_itself(tmp_path):
    assert forward_for(LocalWay(tmp_path), "abcdef0123") is None


def test_what_looks_unintended_is_told_before_the_first_sync_and_large_saves_arrive(project, tmp_path):
    folder = project / "vendor/site-packages"
    folder.mkdir(parents=True)
    (folder / "x.py").write_text("x = 1\n")
    content = os.urandom(HASHED_AHEAD_BYTES + 1)

    async def main():
        async with served(project, tmp_path / "state") as (_, _, said):
            (project / "model.bin").write_bytes(content)
            (copy,) = [path / "model.bin" for path in (tmp_path / "state/sessions").glob("*/tree")]
            await until(lambda: copy.exists() and copy.read_bytes() == content, "the large file")
        async with served(project, tmp_path / "state") as (_, _, later):
            return said, later

    first, second = (
        [event.text for event in said if isinstance(event, events.Notice) and event.key.startswith("large")]
        for said in asyncio.run(main())
    )

    assert first == ["vendor/site-packages holds installed packages, and is synced: 1 file, 0 MB"]
    assert second == []


def test_an_end_that_could_not_be_told_is_said_soon(project, tmp_path, monkeypatch):
    monkeypatch.setattr(ending, "AWAY_TIMEOUT_S", 0.2)

    async def main():
        async with served(project, tmp_path / "state", on="me@gpu1") as (line, engine, said):
            line.darken()
            await until(lambda: of(said, events.Offline), "a lost link")
            engine.stop("", 0)
            await until(lambda: of(said, events.SessionEnded), "an end")
            return said

    said = asyncio.run(main())

    (left,) = [event for event in of(said, events.Notice) if event.key == "left"]
    assert "hotloop stop --on me@gpu1" in left.hint
    assert of(said, events.SessionEnded)[0].is_left_running
