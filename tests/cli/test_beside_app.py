"""`hotloop exec` and `shell` as a person has them: a real agent, real processes, a real terminal, nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import tty
from pathlib import Path

import pytest
from tests.remote_runner.line import Line

from hotloop.changes import Put, content_digest
from hotloop.cli import beside_app
from hotloop.devloop import control
from hotloop.remote_runner.calls import CallLostError, open_call
from hotloop.remote_runner.channels import Channels
from hotloop.remote_runner.client import connect
from hotloop.remote_runner.local import LocalWay
from hotloop.remote_runner.places import noted_python
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.runtimes import RuntimeSupervisor
from hotloop.remote_runner.workspace import Workspace

pytestmark = pytest.mark.xdist_group("beside app")  # one agent for all

COMMAND = [sys.executable, "-m", "hotloop.cli.main"]
FAKE_RUNTIME = (sys.executable, str(Path(__file__).parent.parent / "remote_runner" / "fake_runtime.py"), "{fd}")
ARGUMENTS = ("--runtime-command", json.dumps(FAKE_RUNTIME))
DEADLINE_S = 20.0


class Files:
    """A client's tree in memory."""

    def entries(self):
        return [Put("app.py", content_digest(b"x"), 1)]

    def read(self, _):
        return b"x"


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beside")
    yield folder
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
        os.kill(int((folder / "agent/pid").read_text()), signal.SIGKILL)


@pytest.fixture(scope="module")
def project(state, tmp_path_factory):
    """A project that was served once, and is not any more: its workspace is there, and its environment is known."""
    folder = tmp_path_factory.mktemp("project")
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "pyvenv.cfg").touch()
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)

    async def serve_once():
        async with connect(LocalWay(state, agent_arguments=ARGUMENTS)) as session:
            await session.open(folder, control.project_id(folder))
            await session.sync(Files())
            await session.start({"python": str(folder / ".venv" / "bin" / "python"), "logs": ["\x1b[31mhello"]})

    asyncio.run(serve_once())
    return folder


@pytest.fixture(autouse=True)
def use_state(state, monkeypatch):
    monkeypatch.setenv("HOTLOOP_STATE_DIR", str(state))


def run(project, *command, **options):
    arguments = [*COMMAND, "exec", "--", *command]
    return subprocess.run(arguments, cwd=project, capture_output=True, timeout=DEADLINE_S, check=False, **options)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(is_true, what):
    deadline_s = time.monotonic() + DEADLINE_S
    while not (value := is_true()):
        assert time.monotonic() < deadline_s, f"{what} did not happen"
        time.sleep(0.02)
    return value


def test_streams_and_the_exit_code_are_the_commands_own_and_it_runs_where_the_app_does(project):
    script = "cat; echo err >&2; command -v python; echo $VIRTUAL_ENV; ls; exit 3"

    done = run(project, "sh", "-c", script, input=b"in\n")

    environment = project / ".venv"
    assert done.stdout.decode().splitlines() == ["in", str(environment / "bin" / "python"), str(environment), "app.py"]
    assert (done.stderr, done.returncode) == (b"err\n", 3)


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["sh", "-c", "kill -TERM $$"], 128 + 15, ""),
        (["no-such-command"], 127, "hotloop: no-such-command: No such file or directory"),
        (["/etc/passwd"], 126, "hotloop: /etc/passwd: Permission denied"),
    ],
)
def test_a_command_that_is_killed_or_can_not_run_has_the_exit_code_that_shells_give_it(project, command, code, said):
    done = run(project, *command, stdin=subprocess.DEVNULL)

    assert (done.returncode, done.stderr.decode().strip()) == (code, said)


def test_much_goes_through_unchanged_both_ways(project):
    data = os.urandom(8 << 20)

    assert run(project, "cat", input=data).stdout == data


def test_before_the_first_sync_it_is_said_what_to_do(tmp_path):
    done = run(tmp_path, "true")

    assert done.returncode == 1
    assert done.stderr.decode() == "error: nothing was synced yet for this project\nhint: dev serve first\n"


@contextlib.contextmanager
def started(project, *command, **options):
    process = subprocess.Popen(
        [*COMMAND, "exec", "--", *command], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_ctrl_c_reaches_the_command_also_while_it_takes_no_input(project):
    script = "trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.05; done"
    with Path("/dev/zero").open("rb") as endless, started(project, "sh", "-c", script, stdin=endless) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)

        assert process.stdout.readline() == b"interrupted\n"
        assert process.wait(DEADLINE_S) == 9


def test_a_command_that_ignores_ctrl_c_can_be_left_and_ends(project):
    script = "trap '' INT; echo $$; while :; do sleep 0.05; done"
    with started(project, "sh", "-c", script, stdin=subprocess.DEVNULL) as process:
        pid = int(process.stdout.readline())
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)  # the same signal twice at once is one

        assert process.wait(DEADLINE_S) == 130
    until(lambda: not is_alive(pid), "the command's end")


@pytest.mark.parametrize("end", ["client killed", "command ended"])
def test_nothing_that_a_command_started_outlives_it_or_its_client(project, end):
    said = project / end.replace(" ", "-")
    rest = f"until [ -s {said} ]; do sleep 0.01; done; exit 0" if end == "command ended" else "wait"
    script = f"sleep 600 & echo $!; (setsid sh -c 'echo $$ | tee {said}; sleep 600' &); {rest}"
    with started(project, "bash", "-c", script, stdin=subprocess.DEVNULL) as process:
        pids = [int(process.stdout.readline()), int(process.stdout.readline())]
        if end == "client killed":
            process.kill()
        process.wait(DEADLINE_S)

        until(lambda: not any(map(is_alive, pids)), "the end of what it started")
        assert process.returncode == (0 if end == "command ended" else -9)


def test_the_end_of_the_connection_ends_the_command_and_is_told(state, project):
    async def main():
        line = Line(state)
        channels = Channels(line)
        start = pb.ProcessStart(project_id=control.project_id(project), arguments=["sh", "-c", "echo $$; sleep 600"])
        try:
            async with open_call(channels, 0, "Process", pb.ProcessUp, pb.ProcessDown) as call:
                await call.write(pb.ProcessUp(start=start))
                pid = int((await call.read()).output)
                line.cut()
                with pytest.raises(CallLostError, match="The connection to line was lost"):
                    await call.read()
            return pid
        finally:
            await channels.close()
            await line.close()

    pid = asyncio.run(asyncio.wait_for(main(), DEADLINE_S))
    until(lambda: not is_alive(pid), "the command's end")


def test_logs_are_printed_with_their_generation_or_as_json(project):
    def logs(*options):
        command = [*COMMAND, "logs", *options]
        return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=DEADLINE_S, check=False)

    plain = until(lambda: logs().stdout, "the line")
    (event,) = [json.loads(line) for line in logs("--json", "--since", "1d").stdout.splitlines()]
    wrong = logs("--since", "soon")

    assert plain == "g1 │ hello\n"
    assert (event["kind"], event["generation"], event["text"]) == ("log", 1, "\x1b[31mhello")
    assert (wrong.returncode, wrong.stderr.splitlines()[0][:26]) == (2, "error: --since is 'soon', ")


def test_commands_follow_the_app_to_another_environment(tmp_path):
    workspace = Workspace(tmp_path)
    RuntimeSupervisor(workspace, tmp_path, lambda _: None).switch("/environments/new/bin/python")

    assert noted_python(tmp_path) == Path("/environments/new/bin/python")
    workspace.close()


def test_only_variables_of_the_terminal_and_the_language_leave_this_machine():
    sent = [
        name
        for name in ("TERM", "LC_ALL", "LANG", "AWS_SECRET_ACCESS_KEY", "PATH", "HOME")
        if beside_app._is_sent(name)
    ]

    assert sent == ["TERM", "LC_ALL", "LANG"]


class Terminal:
    """`hotloop shell` in a terminal of its own."""

    def __init__(self, project):
        self.master, self.slave = pty.openpty()
        self.resize(30, 90)
        tty.setcbreak(self.slave)  # anything that is not the usual
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            [*COMMAND, "shell"], cwd=project, stdin=self.slave, stdout=self.slave, stderr=self.slave,
            start_new_session=True, env={**os.environ, "TERM": "dumb", "PS1": "$ "},
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  pytest runs one thread
        )  # fmt: skip
        self.text = ""

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def until(self, pattern, after=0):
        deadline_s = time.monotonic() + DEADLINE_S
        while not (found := re.compile(pattern).search(self.text, after)):
            assert time.monotonic() < deadline_s, f"{pattern!r} was not printed: {self.text}"
            self._read()
        return found

    def _read(self):
        if select.select([self.master], [], [], 0.05)[0]:
            self.text += os.read(self.master, 65536).decode(errors="replace").replace("\r", "")

    def end(self):
        deadline_s = time.monotonic() + DEADLINE_S
        while self.process.poll() is None and time.monotonic() < deadline_s:
            self._read()
        return self.process.wait(1)

    def is_as_before(self):
        return termios.tcgetattr(self.slave) == self.before

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def shell(project):
    terminal = Terminal(project)
    yield terminal
    terminal.close()


def test_a_shell_has_a_terminal_job_control_and_the_apps_environment(project, shell):
    shell.type("stty size; command -v python; pwd; [ -t 0 ] && echo a tty\n")
    shell.until("30 90\n")
    shell.until(re.escape(str(project / ".venv" / "bin" / "python")) + "\n")
    at = shell.until("\na tty\n").end()

    shell.resize(40, 100)
    shell.process.send_signal(signal.SIGWINCH)  # as the kernel does for a terminal that is resized by its owner
    shell.type("sleep 0.2; stty size\n")
    at = shell.until("\n40 100\n", at).end()

    shell.type("sleep 600\n")
    time.sleep(0.3)  # until it is in the foreground
    shell.type("\x1a")
    at = shell.until("Stopped", at).end()
    shell.type("fg\n")
    at = shell.until("\nsleep 600\n", at).end()
    time.sleep(0.2)
    shell.type("\x03")
    shell.type("echo code $?\n")
    shell.until("\ncode 130\n", at)

    shell.type("exit 7\n")
    assert shell.end() == 7
    assert shell.is_as_before()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_shells_terminal_is_given_back_and_its_processes_end_when_its_client_is_told_to(shell, number):
    shell.type("sleep 600 & echo pid $! $$\n")
    job, bash = map(int, shell.until(r"\npid (\d+) (\d+)\n").groups())

    shell.process.send_signal(number)

    assert shell.end() == 128 + number
    assert shell.is_as_before()
    until(lambda: not is_alive(job) and not is_alive(bash), "the shell's end")


def test_a_shell_ends_and_gives_the_terminal_back_when_the_agent_is_gone(state, project, shell):
    shell.type("echo pid $$\n")
    bash = int(shell.until(r"\npid (\d+)\n").group(1))

    os.kill(int((state / "agent/pid").read_text()), signal.SIGKILL)

    assert shell.end() == 1
    assert "error: The connection to local was lost" in shell.text
    assert shell.is_as_before()
    until(lambda: not is_alive(bash), "the shell's end")  # the kernel hangs up: its terminal is gone


def test_a_shell_without_a_terminal_is_refused(project):
    done = subprocess.run(
        [*COMMAND, "shell"], cwd=project, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "needs a terminal" in done.stderr
    assert "hotloop exec" in done.stderr
