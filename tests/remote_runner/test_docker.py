"""A container as a runner, on a real engine; GPUs alone are only asked for."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import hotloop
from hotloop.changes import Changeset, Put, content_digest
from hotloop.config import AppLocation
from hotloop.devloop.engine import Engine
from hotloop.devloop.ignore import Ignore
from hotloop.devloop.index import Index
from hotloop.devloop.options import ServeOptions
from hotloop.errors import RunnerError, UsageError
from hotloop.remote_runner.client import connect
from hotloop.remote_runner.docker import container, engine
from hotloop.remote_runner.docker.host import DockerHost, stopped
from hotloop.remote_runner.docker.target import DockerTarget, container_name, parse
from hotloop.remote_runner.docker.way import docker_way, stop
from hotloop.remote_runner.environment import UserPython
from hotloop.remote_runner.way import NoAgentError
from tests.remote_runner.docker_engine import BARE_IMAGE, IMAGE

PROJECT = "abcdef0123"
pytestmark = [pytest.mark.usefixtures("fetched"), pytest.mark.xdist_group("docker")]  # one engine for all


class Runner:
    """A target on the tests' engine."""

    def __init__(self, docker_engine, **fields):
        self.engine = docker_engine
        self.target = DockerTarget(host=docker_engine.address, **fields)
        self.phases = []

    def way(self):
        return docker_way(self.target, report=lambda step: self.phases.append((step.phase.value, step.text)))

    @property
    def container(self):
        return self.engine.client.containers.get(container_name(self.target, None))

    async def visit(self):
        async with connect(self.way()) as session:
            info = await session.open(Path("/"), PROJECT)
            await session.end()
        return info

    def run(self, main):
        return asyncio.run(asyncio.wait_for(main, 55))


def saved(path, content):
    digest = content_digest(content)
    return Changeset(0, (Put(path, digest, len(content)),), {digest: content}, 0.0)


@pytest.fixture
def runner(docker_engine):
    return Runner(docker_engine, image=IMAGE, name="shared")


# --- a session


def test_container_serves_a_session(runner):
    async def main():
        async with connect(runner.way()) as session:
            info = await session.open(Path("/"), PROJECT)
            await session.push(saved("app.py", b"x = 1\n"))
            there = runner.container.exec_run(["sh", "-c", f"read line < {info.workspace}/app.py; echo $line"])
            await session.end()
        return there.output

    assert runner.run(main()) == b"x = 1\n"
    assert runner.container.attrs["HostConfig"]["Init"]


def test_second_start_installs_nothing(runner):
    runner.run(runner.visit())
    runner.phases.clear()
    runner.run(runner.visit())

    assert [phase for phase, _ in runner.phases] == ["connecting", "starting"]


def test_stop_removes_the_container_and_keeps_its_volumes(runner):
    runner.run(runner.visit())

    assert stop(runner.target)
    assert not stop(runner.target)

    runner.phases.clear()
    runner.run(runner.visit())
    assert ("installing", "making the container") in runner.phases
    assert ("installing", "hotloop's packages") not in runner.phases


def test_container_that_dies_is_started_again(runner):
    async def main():
        async with connect(runner.way()) as session:
            await session.open(Path("/"), PROJECT)
            runner.container.kill()
            await session.push(saved("again.py", b"x = 2\n"))  # waits until there is an agent again
            await session.end()

    runner.run(main())


def test_user_of_the_image_owns_the_volumes_and_a_reconnect_keeps_the_container(docker_engine, tmp_path):
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nUSER dev\n")
    runner = Runner(docker_engine, dockerfile=tmp_path / "Dockerfile", name="of-dev")

    async def main():
        way = runner.way()
        await way.dial()
        first = runner.container.id
        (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nUSER dev\nENV FLAVOUR=lemon\n")
        await way.dial()
        await way.close()
        return first

    assert runner.run(main()) == runner.container.id


def test_a_command_beside_an_app_takes_the_container_as_it_is(docker_engine, tmp_path):
    dockerfile = tmp_path / "Dockerfile"
    target = DockerTarget(dockerfile=dockerfile, host=docker_engine.address)
    connected = engine.connect(target.host)
    dockerfile.write_text(f"FROM {IMAGE}\nENV NUMBER=1\n")

    async def dial(way):
        try:
            return await way.dial()
        finally:
            await way.close()

    with pytest.raises(NoAgentError, match="box: it has no container"):
        asyncio.run(dial(docker_way(target, name="box", is_starting=False)))
    assert container.running(connected, target, None) is None

    asyncio.run(dial(docker_way(target)))
    before = container.running(connected, target, None)
    dockerfile.write_text(f"FROM {IMAGE}\nENV NUMBER=2\n")
    asyncio.run(dial(docker_way(target, is_renewing=False)))
    same = container.running(connected, target, None)
    stop(target)
    connected.close()

    assert before is not None
    assert before == same


def test_changed_dockerfile_makes_another_container(docker_engine, tmp_path):
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nENV FLAVOUR=vanilla\n")
    (tmp_path / ".dockerignore").write_text("secret\n")
    (tmp_path / "secret").write_text("x")
    target = DockerTarget(dockerfile=tmp_path / "Dockerfile", host=docker_engine.address)
    connected = engine.Engine(docker_engine.client, docker_engine.address)
    first = container.ensure(connected, target, tmp_path, lambda *_: None)
    again = container.ensure(connected, target, tmp_path, lambda *_: None)
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nENV FLAVOUR=lemon\n")
    other = container.ensure(connected, target, tmp_path, lambda *_: None)

    assert first == again
    assert other != first
    assert other.name == first.name
    assert docker_engine.client.containers.get(other.id).exec_run(["sh", "-c", "echo $FLAVOUR"]).output == b"lemon\n"


APP = """
import hotloop

app = hotloop.App("greeter")


@app.endpoint
def greet(name: str) -> str:
    return f"hello {name}"


@app.probe
def greets(client):
    return client.greet(name="you")
"""


def test_saves_are_served_in_the_container(runner, tmp_path):
    file = tmp_path / "app.py"
    file.write_text(APP)
    said = []

    async def outcome_of(number):
        deadline_s = time.monotonic() + 40
        while True:
            done = [event for event in said if event.kind == "iteration_finished"]
            if len(done) > number:
                return done[number].iteration.outcome
            assert time.monotonic() < deadline_s, said[-3:]
            await asyncio.sleep(0.02)

    async def main():
        python = UserPython(Path("/usr/bin/python3"), "3.11", "the image")
        options = ServeOptions(tmp_path, AppLocation("app.py", "app"), python, "127.0.0.1", 0, False, "fedcba9876")
        ignore = Ignore(tmp_path)
        async with connect(runner.way()) as session:
            loop = Engine(options, session, Index(tmp_path, ignore), ignore, [said.append])
            running = asyncio.create_task(loop.run())
            assert await outcome_of(0) == "ok"
            file.write_text(APP.replace("hello", "good day"))
            assert await outcome_of(1) == "ok"
            loop.stop("", 0)
            await running

    runner.run(main())

    probes = [event for event in said if event.kind == "probe_finished"]
    assert ["hello you" in repr(probes[0]), "good day you" in repr(probes[-1])] == [True, True]


# --- commands


def on_host(runner, main):
    async def connected():
        connected = engine.connect(runner.engine.address)
        host = DockerHost("box", connected, container.ensure(connected, runner.target, None, lambda *_: None).id)
        try:
            return await main(host)
        finally:
            await host.close()

    return runner.run(connected())


async def all_of(process):
    out = b""
    while data := await process.read():
        out += data
    return out


def test_streams_and_exit_status_are_told_apart(runner):
    async def main(host):
        process = await host.start("echo out; echo err >&2; exit 3")
        return await all_of(process), await process.wait(), process.errors()

    assert on_host(runner, main) == (b"out\n", 3, b"err\n")


def test_much_goes_both_ways(runner):
    block = os.urandom(1 << 22)

    async def main(host):
        process = await host.start(
            'python3 -c "import shutil,sys;shutil.copyfileobj(sys.stdin.buffer,sys.stdout.buffer)"'
        )
        reading = asyncio.create_task(all_of(process))
        await process.write(block)
        await process.end_input()
        return await reading, await process.wait()

    assert on_host(runner, main) == (block, 0)


def test_command_in_a_container_that_is_gone(runner):
    async def main(host):
        runner.container.kill()
        await host.start("true")

    with pytest.raises(RunnerError, match="The container of box does not run: exit code 137"):
        on_host(runner, main)


# --- failures


def test_no_engine(tmp_path):
    with pytest.raises(
        RunnerError, match=f"No Docker engine answers at unix://{tmp_path}/none.sock: No such file"
    ) as caught:
        engine.connect(f"unix://{tmp_path}/none.sock")

    assert "DOCKER_HOST" in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="acting as another user needs root: run the tests as root")
def test_engine_of_others(docker_engine):
    os.seteuid(65534)
    try:
        with pytest.raises(RunnerError, match="This user may not use the Docker engine at unix://") as caught:
            engine.connect(docker_engine.address)
    finally:
        os.seteuid(0)

    assert "usermod" in caught.value.hint


def test_image_that_is_nowhere(docker_engine):
    runner = Runner(docker_engine, image="hotloop-test/none:7")

    with pytest.raises(RunnerError, match="does not have the image hotloop-test/none:7, and can't pull it"):
        runner.run(runner.way().dial())


def test_image_without_a_shell(docker_engine, tmp_path):
    (tmp_path / "etc").mkdir()
    docker_engine.take_image("hotloop-test/empty:1", tmp_path)
    runner = Runner(docker_engine, image="hotloop-test/empty:1")

    with pytest.raises(RunnerError) as caught:
        runner.run(runner.way().dial())

    assert "has no sh" in caught.value.message


def test_image_without_python(docker_engine):
    runner = Runner(docker_engine, image=BARE_IMAGE)

    with pytest.raises(
        RunnerError, match=r"no Python that hotloop can use: it has none \(.*\), and uv can't fetch"
    ) as caught:
        runner.run(runner.way().dial())

    assert "install Python 3.11" in caught.value.hint


def test_uv_brings_a_python_where_there_is_none(docker_engine, tmp_path):
    (tmp_path / "Dockerfile").write_text(
        f"FROM {BARE_IMAGE}\nENV UV_PYTHON_DOWNLOADS_JSON_URL=/mirror/downloads.json\n"
    )
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    runner = Runner(docker_engine, dockerfile=tmp_path / "Dockerfile", python=version)

    async def main():
        await runner.visit()
        runner.phases.clear()
        await runner.visit()

    runner.run(main())

    assert {text for _, text in runner.phases} == {""}


def test_dockerfile_that_does_not_build(docker_engine, tmp_path):
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nRUN python3 -c 'raise SystemExit(5)'\n")
    runner = Runner(docker_engine, dockerfile=tmp_path / "Dockerfile")

    with pytest.raises(RunnerError, match=r"Dockerfile can't be built: .*returned a non-zero code: 5"):
        runner.run(runner.way().dial())


def test_gpus_that_the_engine_does_not_have(docker_engine):
    runner = Runner(docker_engine, image=IMAGE, gpus="all")

    with pytest.raises(RunnerError) as caught:
        runner.run(runner.way().dial())

    assert "NVIDIA Container Toolkit" in caught.value.hint
    assert runner.container.attrs["HostConfig"]["DeviceRequests"][0]["Capabilities"] == [["gpu"]]


@pytest.mark.parametrize(("is_removed", "said"), [(False, "does not run: exit code 137"), (True, "No such container")])
def test_container_that_ends_while_a_command_begins_is_the_reason_that_is_given(docker_engine, is_removed, said):
    runner = Runner(docker_engine, image=IMAGE, name="short")

    async def main(host):
        process = await host.start("sleep 100")
        if is_removed:
            await asyncio.to_thread(runner.container.remove, force=True)
        else:
            await asyncio.to_thread(runner.container.kill)
        with pytest.raises(RunnerError) as caught:
            await process.wait()
        return caught.value.message

    assert said in on_host(runner, main)


def test_container_that_used_too_much_memory_is_said_so():
    assert "more memory than it may" in stopped("box", {"OOMKilled": True, "ExitCode": 137}).message


# --- an engine on another machine


@pytest.fixture
def machine(docker_engine, tmp_path, monkeypatch):
    """An SSH server whose ``docker`` speaks to the tests' engine; gives its address."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if sshd is None or shutil.which("ssh") is None or shutil.which("docker") is None:
        pytest.skip("sshd, ssh or docker not found: apt-get install openssh-server openssh-client docker.io")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    port = free_port()
    Path("/run/sshd").mkdir(exist_ok=True)
    config = tmp_path / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/user.pub\n"
        f"StrictModes no\nPidFile none\nUsePAM no\nSetEnv DOCKER_HOST={docker_engine.address}\n"
    )
    server = subprocess.Popen([sshd, "-D", "-e", "-f", str(config)], stderr=(tmp_path / "log").open("w"))
    until_it_listens(port)
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {(tmp_path / 'host.pub').read_text()}")
    options = f"-F none -i {tmp_path}/user -o UserKnownHostsFile={tmp_path}/known -o StrictHostKeyChecking=yes"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} {options} "$@"\n')
    (tmp_path / "bin/ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    yield f"ssh://root@127.0.0.1:{port}"
    server.terminate()
    server.wait()


def until_it_listens(port):
    deadline_s = time.monotonic() + 20
    while True:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 5):
            return
        assert time.monotonic() < deadline_s, "sshd does not listen"
        time.sleep(0.02)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_engine_on_another_machine(docker_engine, machine):
    runner = Runner(docker_engine, image=IMAGE, name="shared")
    runner.target = DockerTarget(image=IMAGE, name="shared", host=machine)

    assert runner.run(runner.visit()).version == hotloop.__version__
    assert runner.way().num_lanes == 2


def test_engine_on_a_machine_that_lets_nobody_in(machine, tmp_path):
    (tmp_path / "user.pub").write_text("")

    with pytest.raises(
        RunnerError, match=r"The Docker engine at ssh://.* can't be reached: .*Permission denied"
    ) as caught:
        engine.connect(machine)

    assert "docker version" in caught.value.hint


# --- words


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("docker://python:3.12-slim", DockerTarget(image="python:3.12-slim")),
        ("docker://reg:5000/me/x@sha256:ab", DockerTarget(image="reg:5000/me/x@sha256:ab")),
        ("docker://x?name=mine&gpus=2", DockerTarget(image="x", name="mine", gpus="2")),
    ],
)
def test_addresses(address, expected):
    assert parse(address) == expected


@pytest.mark.parametrize(
    ("address", "about"),
    [
        ("docker://", "an image or of a Dockerfile"),
        ("docker://x?colour=red", "'colour' is not an option"),
        ("docker://x?name=-", "'-' can't be a container's name"),
        ("docker://x?gpus=0", "gpus=0 was not understood"),
    ],
)
def test_addresses_that_are_wrong(address, about):
    with pytest.raises(UsageError, match=about) as caught:
        parse(address)

    assert caught.value.hint


def test_projects_and_images_have_containers_of_their_own(tmp_path):
    names = {
        container_name(DockerTarget(image=image), project)
        for image in ("a", "b")
        for project in (tmp_path / "one", tmp_path / "two", None)
    }

    assert len(names) == 6
    assert container_name(DockerTarget(image="a", name="mine"), tmp_path) == "mine"


def test_engine_is_the_one_that_docker_uses(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "ssh://me@gpu1")
    assert engine.address_of("") == "ssh://me@gpu1"
    assert engine.address_of("unix:///x.sock") == "unix:///x.sock"
    monkeypatch.setenv("DOCKER_HOST", "npipe:////./pipe/docker_engine")
    with pytest.raises(UsageError, match="can't speak to the Docker engine"):
        engine.address_of("")


def test_agent_side_needs_no_docker():
    loaded = "import sys, hotloop.remote_runner.agent; print('docker' in sys.modules, 'paramiko' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)

    assert done.stdout == "False False\n"


def test_a_dial_that_is_given_up_leaves_no_connection_to_the_engine(monkeypatch):
    began, goes_on, closed = threading.Event(), threading.Event(), threading.Event()

    class Connected:
        close = staticmethod(closed.set)

    def ensure(*_):
        began.set()
        assert goes_on.wait(20)
        return container.Kept("id", "name")

    monkeypatch.setattr(engine, "connect", lambda _: Connected())
    monkeypatch.setattr(container, "ensure", ensure)

    async def main():
        dialing = asyncio.create_task(docker_way(DockerTarget("image")).dial())
        assert await asyncio.to_thread(began.wait, 20)
        dialing.cancel()
        await asyncio.gather(dialing, return_exceptions=True)
        goes_on.set()
        assert await asyncio.to_thread(closed.wait, 20)

    asyncio.run(main())
