"""A machine that has nothing gets an agent: real shells, real Pythons, a real registry or none; over `ShellHost`."""

import asyncio
import contextlib
import dataclasses
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import hotloop
from hotloop.changes import Changeset, Put, content_digest
from hotloop.errors import RunnerError, UsageError
from hotloop.remote_runner import places
from hotloop.remote_runner.bootstrap import packages
from hotloop.remote_runner.bootstrap.failures import Failure, Kind, explain, explain_silence, kind_of_output
from hotloop.remote_runner.bootstrap.install import Bridge
from hotloop.remote_runner.bootstrap.on_host import bridge as on_host
from hotloop.remote_runner.bootstrap.on_host import installer
from hotloop.remote_runner.bootstrap.plan import choose_python
from hotloop.remote_runner.bootstrap.request import Options, make_request, program_text, wanted_name
from hotloop.remote_runner.bootstrap.source import own_source
from hotloop.remote_runner.client import connect
from hotloop.remote_runner.hosted_way import pump
from hotloop.remote_runner.local import accepts
from hotloop.remote_runner.processes import is_alive
from tests.remote_runner.bare_machine import NO_REGISTRY, PROJECT, Machine, mounted, oldest_python, script
from tests.remote_runner.shell_host import ShellHost
from tests.remote_runner.sshd import Sshd

CERTIFICATES = {name: os.environ[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if name in os.environ}


@pytest.fixture(scope="session")
def warm_cache(tmp_path_factory):
    """A runner's cache in which hotloop's environment is: made once, by pip, uv and the registry, as a bare machine does."""
    folder = tmp_path_factory.mktemp("runner-cache")
    home = tmp_path_factory.mktemp("first-home")
    machine = Machine(home, cache=folder)

    async def both_lanes():
        way = machine.way()
        await asyncio.gather(way.dial(0), way.dial(1))
        await way.close()
        await machine.visit()

    machine.run(both_lanes())
    assert ("installing", "hotloop's packages") in machine.phases
    assert len(list(folder.glob("agents/*"))) == 1
    assert not [text for _, text in machine.phases if "from this machine" in text]
    return folder


pytestmark = [pytest.mark.usefixtures("fetched"), pytest.mark.xdist_group("bootstrap")]  # one warm cache for all


@pytest.fixture
def machine(tmp_path, warm_cache):
    return Machine(tmp_path / "home", cache=warm_cache)


async def until(is_true, what="it"):
    deadline_s = time.monotonic() + 15
    while not is_true():
        assert time.monotonic() < deadline_s, f"{what} did not happen"
        await asyncio.sleep(0.01)


# --- a session


def test_bare_machine_serves_a_session(machine):
    async def main():
        async with connect(machine.way()) as session:
            info = await session.open(machine.home, PROJECT)
            digest = content_digest(b"x = 1\n")
            change = Changeset(0, (Put("app.py", digest, 6),), {digest: b"x = 1\n"}, 0.0)
            await session.push(change)
            content = (Path(info.workspace) / "app.py").read_bytes()
            await session.end()
        return content

    assert machine.run(main()) == b"x = 1\n"
    assert machine.state.stat().st_mode & 0o777 == 0o700


def test_second_start_is_one_command_that_is_told_nothing(machine):
    async def main():
        await machine.visit()
        host = ShellHost(machine.home)
        process = await host.start(make_request(machine.options).command)
        answer = b""
        while b'"ready"' not in answer:
            answer += await process.read()
        await host.close()

    machine.run(main())


def test_second_start_installs_nothing(machine):
    async def main():
        await machine.visit()
        machine.phases.clear()
        await machine.visit()

    machine.run(main())

    phases = [phase for phase, _ in machine.phases]
    assert phases[:2] == ["connecting", "starting"]
    assert "installing" not in phases[2:]  # the other lane may be on its way


def test_agent_outlives_a_cut_and_is_reached_on_a_fresh_connection(machine):
    async def main():
        async with connect(machine.way()) as session:
            await session.open(machine.home, PROJECT)
            pid = machine.agent_pid
            machine.hosts[0].cut()
            await until(lambda: len(machine.hosts) > 1, "a second connection")
            await session.ping()
            assert machine.agent_pid == pid
            await session.end()

    machine.run(main())


def test_dial_beside_a_connection_that_seems_alive_makes_a_fresh_one(machine):
    async def main():
        way = machine.way()
        sockets = []
        for _ in range(2):
            sockets.append(socket.socket(socket.AF_UNIX))
            sockets[-1].connect((await way.dial()).removeprefix("unix:"))
            sockets[-1].send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        await until(lambda: select.select(sockets, [], [], 0)[0] == sockets, "both agents' answers")
        num_hosts = len(machine.hosts)
        for each in sockets:
            each.close()
        folder = way._folder.path
        await way.close()
        return num_hosts, folder

    num_hosts, folder = machine.run(main())
    assert num_hosts == 2
    assert not folder.exists()


def test_bytes_wait_for_a_bridge_that_takes_none(tmp_path):
    async def main():
        host = ShellHost(tmp_path)
        here, there = socket.socketpair()
        here.setblocking(False)
        there.setblocking(False)
        pumping = asyncio.create_task(pump(there, Bridge(await host.start("exec sleep 100"), b"")))
        sent = 0
        for _ in range(50):  # all buffers are full when nothing is taken for a while
            with contextlib.suppress(BlockingIOError):
                while sent < 1 << 24:
                    sent += here.send(bytes(1 << 16))
            await asyncio.sleep(0.005)
        pumping.cancel()
        await asyncio.gather(pumping, return_exceptions=True)
        await host.close()
        here.close()
        there.close()
        return sent

    assert asyncio.run(main()) < 1 << 22


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("__init__.py", f'"{hotloop.__version__}"', '"0.0.1"'),
        ("clock.py", "import time\n", "import time\n\n# before an edit\n"),
    ],
)
def test_agent_of_another_version_or_of_other_source_retires(machine, tmp_path, file, old, new):
    async def main():
        async with connect(machine.way(num_lanes=1)) as session:  # a second lane that comes late starts an agent too
            await session.open(machine.home, PROJECT)
            await session.end()
        await until(lambda: not is_alive(machine.agent_pid), "the end of the first agent")
        older = tmp_path / "older"
        shutil.copytree(hotloop.__path__[0], older / "hotloop", ignore=shutil.ignore_patterns("__pycache__"))
        text = (older / "hotloop" / file).read_text()
        (older / "hotloop" / file).write_text(text.replace(old, new))
        command = [sys.executable, "-P", "-m", "hotloop.remote_runner.agent", "--state", str(machine.state)]
        environ = {**os.environ, "PYTHONPATH": str(older)}
        agent = await asyncio.to_thread(subprocess.Popen, command, env=environ)
        try:
            await until(lambda: accepts(places.socket_path(machine.state)) and machine.agent_pid == agent.pid)
            assert (await machine.visit()).version == hotloop.__version__
            await asyncio.to_thread(agent.wait, 10)
            assert machine.agent_pid != agent.pid
        finally:
            agent.kill()
            agent.wait()

    machine.run(main())


# --- shells


@pytest.mark.parametrize(
    "text",
    [
        'echo "Welcome to hotloop: ?!"; yes banner | head -c 60000; exec sh "$@"',
        'echo "$2"; exec sh "$@"',
        'printf "no newline at the end"; exec sh "$@"',
        'sh "$@"; c=$?; echo goodbye; exit $c',
    ],
    ids=["banner", "echoes the command", "no newline", "says goodbye"],
)
def test_noise_of_a_shell_does_no_harm(tmp_path, warm_cache, text):
    machine = Machine(tmp_path / "home", cache=warm_cache, shell=str(script(tmp_path / "shell", text)))

    assert machine.run(machine.visit()).version == hotloop.__version__


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "echo This account is not available.; exit 1",
            "exit code 1 before it answered: 'This account is not available'",
        ),
        ("echo 'rc: broken' >&2; exit 0", "exit code 0 before it answered: 'rc: broken'"),
        ("exec yes 'SSH-2.0 who are you'", "answers with something else than hotloop: 'SSH-2.0 who are you'"),
        ("exec kill -9 $$", "before it answered"),
    ],
)
def test_shell_that_does_not_run_commands(tmp_path, text, expected):
    machine = Machine(tmp_path, shell=str(script(tmp_path / "shell", text)))

    with pytest.raises(RunnerError) as caught:
        machine.run(machine.way().dial())

    assert expected in caught.value.message
    assert caught.value.hint


# --- Pythons


def test_oldest_python_starts_it(tmp_path, warm_cache):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").symlink_to(oldest_python())
    machine = Machine(tmp_path / "home", cache=warm_cache, path=f"{tmp_path}/bin:/usr/bin:/bin")
    (tmp_path / "home").mkdir()

    assert machine.run(machine.visit()).version == hotloop.__version__


def test_python_that_was_named_is_taken(machine):
    (machine.home / "own").mkdir(parents=True)
    (machine.home / "own/py").symlink_to(sys.executable)
    machine.options = dataclasses.replace(machine.options, python="~/own/py")

    machine.run(machine.visit())

    folder = next(Path(machine.options.cache).glob(f"agents/{wanted_name('~/own/py')}-*"))
    assert f"version_info = {'.'.join(map(str, sys.version_info[:3]))}" in (folder / "pyvenv.cfg").read_text()


@pytest.mark.parametrize("text", ["exit 97", "exit 127"], ids=["too old", "a shim that leads nowhere"])
def test_another_python_is_tried(tmp_path, warm_cache, text):
    script(tmp_path / "bin/python3", text)
    machine = Machine(tmp_path / "home", cache=warm_cache, path=f"{tmp_path}/bin:/usr/bin:/bin")

    assert machine.run(machine.visit()).version == hotloop.__version__


def test_loader_leaves_to_another_python_where_it_is_too_old():
    text = program_text("loader").decode().replace("(3, 8)", "(9, 9)")

    assert subprocess.run([sys.executable, "-c", text, "", ""], check=False).returncode == 97


def test_python_that_is_not_there_and_cannot_be_fetched(tmp_path):
    machine = Machine(tmp_path, **NO_REGISTRY)
    machine.options = dataclasses.replace(machine.options, python="3.13.99")

    with pytest.raises(RunnerError, match=r"no Python .*3\.13\.99 is wanted, .*3\.\d+\.\d+, and uv can't fetch"):
        machine.run(machine.way().dial())


def test_what_uv_brought_is_taken_for_the_version_that_was_asked_for_alone(tmp_path):
    script(tmp_path / "uv", "exit 0")
    for version in ("3.11.9", "3.12.4", "3.1.2"):
        script(tmp_path / f"python/cpython-{version}/bin/python3", f"echo {version}")
    made = installer.Installer(None, {"wanted": "x"}, str(tmp_path)).do_python("3.12", 20)

    assert made == {"python": str(tmp_path / "python/cpython-3.12.4/bin/python3"), "version": "3.12.4"}


@pytest.mark.parametrize(
    ("found", "wanted", "chosen"),
    [
        ([("/a", "3.11.2"), ("/b", "3.12.1")], "", "/b"),
        ([("/a", "3.15.0")], "", None),
        ([("/a", "3.11.2"), ("/b", "3.12.1")], "3.11", "/a"),
        ([("/a", "3.11.2")], "/a", "/a"),
        ([("/a", "3.11.2")], "/b", None),
        ([("/a", "3.1.2")], "3.11", None),
    ],
)
def test_which_python_is_chosen(found, wanted, chosen):
    result = choose_python(found, wanted)

    assert (result and result[0]) == chosen


# --- what is kept there


def test_changed_program_is_not_run_but_replaced(machine, warm_cache):
    async def main():
        await machine.visit()
        (kept,) = warm_cache.glob("bridge-*.py")
        intact = kept.read_bytes()
        kept.write_bytes(b"raise SystemExit('this must not run')")
        await machine.visit()
        assert kept.read_bytes() == intact

    machine.run(main())


def test_program_is_not_read_through_a_link(machine, warm_cache, tmp_path):
    async def main():
        await machine.visit()
        (kept,) = warm_cache.glob("bridge-*.py")
        kept.replace(tmp_path / "elsewhere.py")
        kept.symlink_to(tmp_path / "elsewhere.py")
        await machine.visit()
        assert not kept.is_symlink()

    machine.run(main())


def test_socket_path_is_the_agents_own(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for state in (tmp_path / "s", tmp_path / ("long" * 30)):
        assert on_host.socket_path(str(state)) == str(places.socket_path(state))


def test_source_is_this_process_own_and_has_no_laptop_side():
    names = own_source().contents

    assert names["hotloop/__init__.py"] == Path(hotloop.__file__).read_bytes()
    assert "hotloop/remote_runner/agent.py" in names
    assert not [name for name in names if name.startswith(("hotloop/cli", "hotloop/devloop", "hotloop/tui"))]
    assert not [name for name in names if "__pycache__" in name]


def test_command_has_nothing_that_a_shell_reads_in_its_own_way():
    command = make_request(Options(state='/it\'s $HOME `x` \\ "q" !h')).command
    inner = command.removeprefix("exec sh -c '").removesuffix("'")

    assert not set("'\\`\n") & set(inner)
    assert "$HOME `x`" not in inner


def test_folder_that_shells_read_differently_is_refused():
    with pytest.raises(UsageError, match="letters, digits"):
        make_request(Options(cache="/tmp/$(x)"))


# --- failures


def test_machine_without_registry_gets_packages_from_here(tmp_path):
    machine = Machine(tmp_path / "home", **NO_REGISTRY)

    assert machine.run(machine.visit()).version == hotloop.__version__
    assert [
        text for _, text in machine.phases if text.startswith("hotloop's packages, from this machine (bare could not")
    ]


def test_no_registry_on_either_side(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    for name, value in NO_REGISTRY.items():
        monkeypatch.setenv(name, value)
    machine = Machine(tmp_path / "home", **NO_REGISTRY)

    with pytest.raises(RunnerError, match=r"bare reaches no package registry, and neither does this machine") as caught:
        machine.run(machine.way().dial())

    assert "UV_DEFAULT_INDEX" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("size=1m", r"The disk of bare is full: .*1 MB are free"),
        ("ro", r"bare does not let hotloop write there: .*\.cache/hotloop"),
        ("noexec,size=400m", r"runs no programs \(noexec\)"),
    ],
)
def test_disk_that_hotloop_cannot_live_on(tmp_path, options, expected):
    with mounted(tmp_path / "home", options) as home:
        machine = Machine(home)
        with pytest.raises(RunnerError, match=expected) as caught:
            machine.run(machine.way().dial())

    assert "cache = " in caught.value.hint


@pytest.mark.parametrize("environ", [CERTIFICATES, NO_REGISTRY], ids=["from the registry", "from this machine"])
def test_disk_that_fills_up_on_the_way(tmp_path, environ):
    with mounted(tmp_path / "home", "size=400m,nr_inodes=150") as home:
        machine = Machine(home, **environ)
        with pytest.raises(RunnerError, match="The disk of bare is full"):
            machine.run(machine.way().dial())


def test_agent_that_does_not_start_is_quoted(machine):
    machine.options = dataclasses.replace(machine.options, agent_arguments=("--bogus",))

    with pytest.raises(RunnerError, match=r"The agent on bare ended with exit code 2\. .*--bogus") as caught:
        machine.run(machine.way().dial())

    assert "agent.log" in caught.value.hint


@pytest.mark.parametrize(
    ("tag", "glibc", "expected"),
    [
        ("x86_64-gnu", "2.36", "x86_64-manylinux_2_36"),
        ("x86_64-gnu", "2.99", "x86_64-manylinux_2_40"),
        ("aarch64-gnu", "2.17", "aarch64-manylinux_2_17"),
        ("x86_64-musl", "", "x86_64-unknown-linux-musl"),
    ],
)
def test_platform_of_packages(tag, glibc, expected):
    assert packages.uv_platform(tag, glibc) == expected


@pytest.mark.parametrize(
    ("tag", "glibc", "about"), [("x86_64-gnu", "2.12", "2.12"), ("riscv64-gnu", "2.40", "riscv64")]
)
def test_platform_that_nothing_is_built_for(tag, glibc, about):
    with pytest.raises(Failure, match=about) as caught:
        packages.uv_platform(tag, glibc)

    error = explain("gpu1", caught.value)
    assert about in error.message
    assert "glibc" in error.hint


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        ("error: Failed to install: grpcio\n  cause: No space left on device (os error 28)", Kind.DISK_FULL),
        ("ImportError: cygrpc.so: failed to map segment from shared object", Kind.NOEXEC),
        ("error: failed to create directory `/x`: Permission denied (os error 13)", Kind.DENIED),
        ("because grpcio has no wheels with a matching platform tag (e.g., `linux_armv6l`)", Kind.NO_BUILD),
        ("error: Failed to fetch: `https://r/simple/grpcio/`\n cause: dns error", Kind.NO_REGISTRY),
        ("something new", Kind.COMMAND),
    ],
)
def test_what_installers_print_is_understood(output, kind):
    assert kind_of_output(output) is kind
    assert Failure(Kind.COMMAND, "uv pip install", {"output": output}).kind is kind


def test_every_kind_has_words():
    for kind in Kind:
        error = explain("gpu1", Failure(kind, "what failed"))

        assert "gpu1" in error.message
        assert error.hint


def test_lost_connection_is_said_as_one():
    assert "connection to gpu1 was lost" in explain_silence("gpu1", -1, b"", b"").message


def test_app_is_served_on_a_machine_that_is_reached_by_ssh(tmp_path, warm_cache):
    """All of it as a user has it: a runner with a name, a bare home, one command, and nothing left running."""
    server = Sshd(tmp_path / "server")
    home, project = tmp_path / "client", tmp_path / "project"
    (home / ".ssh").mkdir(parents=True)
    shutil.copy(server.config, home / ".ssh/config")
    project.mkdir()
    (project / "app.py").write_text(
        "import hotloop\n\napp = hotloop.App('search')\n\n\n@app.endpoint\ndef greet(name: str) -> str:\n"
        "    return f'hello {name}'\n\n\n@app.probe\ndef hello(client):\n    return client.greet(name='you')\n"
    )
    environ = {**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"), "ONLY_HERE": "1"}

    def dev(*words):
        command = [sys.executable, "-m", "hotloop.cli.main", *words]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=environ, cwd=project, timeout=50
        )

    try:
        assert dev("runner", "add", "gpu1", server.target, "--cache", str(warm_cache)).returncode == 0
        done = dev("serve", "--on", "gpu1", "--detach", "--json", "--port", "0")
        happened = {event["kind"]: event for event in map(json.loads, done.stdout.splitlines())}

        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert happened["session_started"]["runner"] == "gpu1"
        assert happened["iteration_finished"]["iteration"]["outcome"] == "ok"
        looked = dev("status", "--on", "gpu1")
        assert (looked.returncode, looked.stderr) == (0, ""), looked.stderr
        assert f"{project}\n  generation 1 at http://127.0.0.1:" in looked.stdout
        shown = dev("runner", "doctor", "gpu1")
        assert f"agent       hotloop {hotloop.__version__}" in shown.stdout, shown.stdout
        assert shown.returncode == 0
    finally:
        stopped = dev("runner", "stop", "gpu1").stderr
        server.close()
    assert f"and the session of {project}" in stopped
