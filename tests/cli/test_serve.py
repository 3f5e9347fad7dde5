"""`dev serve` as a person has it: a real terminal, real saves, a real agent and runtime, nothing left behind."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # terminals are opened while channels are

import grpc
import pytest
from tests.gpu_runtime.grpc_front.calling import Client

from hotloop.cli.serving import resolve
from hotloop.cli.starting import Choice
from hotloop.gpu_runtime.grpc_front import serving_pb2 as pb

BARE_PYTHON = str(Path(sys.base_prefix) / "bin" / "python3")
COMMAND = [sys.executable, "-m", "hotloop.cli.main"]
ENVIRONMENT = {"TERM": "xterm-256color", "COLUMNS": "100"}
DEADLINE_S = 40.0
F_SETPIPE_SZ = 1031

APP = """
import hotloop

app = hotloop.App("tiny")
PREFIX = "hello"


@app.model
def words():
    return {"end": "!"}


@app.endpoint
def greet(name: str, words) -> str:
    return f"{PREFIX} {name}{words['end']}"


@app.probe
def ada(client):
    return client.greet(name="Ada")
"""

pytestmark = pytest.mark.timeout(120)


class Terminal:
    """A process that has a terminal of its own, and all it has printed."""

    def __init__(self, arguments, cwd):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [*COMMAND, *arguments], cwd=cwd, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**os.environ, **ENVIRONMENT}, preexec_fn=_take_terminal,  # noqa: PLW1509  pytest runs one thread
        )  # fmt: skip
        os.close(slave)
        self.raw = ""

    @property
    def text(self):
        """All that was printed, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.raw).replace("\r", "")

    def until(self, pattern, after=0):
        """Read until something was printed after a position; gives the position behind it."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            found = re.compile(pattern).search(self.text, after)
            if found:
                return found.end()
            has_ended = self.process.poll() is not None  # asked first: what it printed before can be read
            if not self.read() and has_ended:
                break
        pytest.fail(f"{pattern!r} was not printed. The terminal:\n{self.text}")

    def read(self):
        ready, _, _ = select.select([self.master], [], [], 0.05)
        try:
            data = os.read(self.master, 65536) if ready else b""
        except OSError:
            data = b""
        self.raw += data.decode(errors="replace")
        return data

    def type(self, text):
        os.write(self.master, text.encode())

    def end(self):
        """Wait for the process to end; gives its exit code."""
        deadline = time.monotonic() + DEADLINE_S
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read()
        while self.read():  # its last words
            pass
        return self.process.wait(1)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.end()
        os.close(self.master)


def _take_terminal():
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def project(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def terminal(project):
    opened = []

    def open_(*arguments):
        opened.append(Terminal([*arguments, "--python", BARE_PYTHON], project))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def address(terminal, *, last=False):
    found = re.findall(r"http://[\w.:]+", terminal.text)
    return found[-1 if last else 0]


def post(url, **fields):
    request = urllib.request.Request(url, json.dumps(fields).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def processes_of(state):
    """Processes whose command line or environment names a state folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            named = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
        except OSError:
            continue
        if str(state).encode() in named and int(folder.name) != os.getpid():
            found.append(folder.name)
    return found


def wait_until(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return value


@pytest.mark.parametrize(("typed", "written", "replicas"), [(3, 2, 3), (None, 2, 2), (None, None, 0)])
def test_how_many_workers_serve_is_the_options_word_then_the_projects_then_the_apps(project, typed, written, replicas):
    (project / "pyproject.toml").write_text(f"[tool.hotloop]\nreplicas = {written}\n" if written else "")

    options = resolve(Choice(project, None, BARE_PYTHON, None, 0, is_json=True, replicas=typed))

    assert options.replicas == replicas


def test_as_many_workers_serve_as_were_asked_for_before_and_after_a_save(terminal, project):
    loop = terminal("serve", "--port", "0", "--replicas", "2")
    at = loop.until("2 workers serve generation 1")
    (project / "app.py").write_text(APP.replace('"hello"', '"goodbye"'))
    at = loop.until(r"✓ #1 ", at)
    loop.until("2 workers serve generation 2", at)

    assert post(f"{address(loop)}/greet", name="Bob") == '"goodbye Bob!"'


def test_saves_errors_pins_and_keys_in_a_terminal(terminal, project, own_state_directory):
    loop = terminal("serve", "--port", "0")
    at = loop.until(r"✓ started .*first output")
    assert "hello Ada!" in loop.text
    at = loop.until("pin the last request", at)

    (project / "app.py").write_text(APP.replace('"hello"', '"goodbye"'))
    at = loop.until(r"✓ #1 .*detect .* sync .* apply .* reload .* warmup .* first output", at)
    assert "- hello Ada!" in loop.text
    assert "+ goodbye Ada!" in loop.text
    assert "kept     words" in loop.text

    (project / "app.py").write_text(APP.replace("def greet(", "def greet(("))
    at = loop.until(r"✗ #2 .* to the error", at)
    assert "✗ SyntaxError" in loop.text
    assert "app.py:14" in loop.text
    assert re.search(r"│ +\^", loop.text)
    assert "still serving generation 2" in loop.text
    assert post(address(loop) + "/greet", name="Bo").strip('"') == "goodbye Bo!"

    at = loop.until(r"POST /greet 200", at)
    loop.type("p\n")
    at = loop.until(r"probe    POST /greet", loop.until(r"pinned POST /greet", at))
    loop.type("\n")
    at = loop.until(r"\d\d:\d\d:\d\d ─────", at)

    (project / "app.py").write_text(APP)
    at = loop.until(r"✓ #3 ", at)
    assert '+ "hello Bo!"' in loop.text or "+ hello Bo!" in loop.text
    assert [pin["name"] for pin in json.loads((project / ".hotloop" / "pins.json").read_text())] == ["POST /greet"]

    loop.type("r\n")
    loop.until(r"loaded   words", at)
    loop.type("\x03")

    assert loop.end() == 130
    assert "3 edits, 2 green." in loop.text
    assert wait_until(lambda: not processes_of(own_state_directory))
    assert not [path for path in own_state_directory.rglob("*") if path.is_socket()]
    port = int(address(loop).rpartition(":")[2])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_pins_of_an_earlier_session_run_again(terminal, project):
    first = terminal("serve", "--port", "0")
    at = first.until(r"✓ started")
    post(address(first) + "/greet", name="Bo")
    done = subprocess.run([*COMMAND, "pin", "--name", "bo"], cwd=project, capture_output=True, text=True, check=True)
    first.until(r"probe    bo", at)
    first.type("q\n")
    code = first.end()

    second = terminal("serve", "--port", "0")
    second.until(r"✓ started", second.until(r"probe    bo"))

    assert (code, done.stderr) == (0, "pinned bo\n")


def test_a_second_serve_of_the_same_project_is_refused(terminal, project):
    terminal("serve", "--port", "0").until(r"✓ started")

    done = subprocess.run(
        [*COMMAND, "serve", "--python", BARE_PYTHON], cwd=project, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "dev serve already runs for this project" in done.stderr


def test_deleting_most_of_the_project_waits_for_a_yes(terminal, project, tmp_path_factory):
    (project / "data").mkdir()
    for number in range(8):
        (project / "data" / f"{number}.txt").write_text("x")
    loop = terminal("serve", "--port", "0")
    at = loop.until(r"✓ started")

    (project / "data").rename(tmp_path_factory.mktemp("away") / "data")
    at = loop.until(r"waiting: 8 of 9 files were deleted at once\n +hint: ", at)
    assert "#1" not in loop.text
    loop.type("y\n")

    loop.until(r"✓ #1 ", at)


def test_a_killed_agent_is_replaced_and_saves_go_on(terminal, project, own_state_directory):
    loop = terminal("serve", "--port", "0")
    at = loop.until(r"✓ started")

    os.kill(_agent_of(own_state_directory), signal.SIGKILL)
    at = loop.until(r"offline, saves are queued; connecting again", at)
    at = loop.until(r"generation 1 serves|generation \d+ serves|✓ #", at)
    (project / "app.py").write_text(APP.replace("hello", "goodbye"))

    loop.until(r"✓ #1 ", at)
    assert post(address(loop, last=True) + "/greet", name="Bo").strip('"') == "goodbye Bo!"


def test_what_a_killed_client_left_running_serves_on_and_is_resumed(terminal, project):
    killed = terminal("serve", "--port", "0")
    killed.until(r"✓ started")
    killed.process.kill()
    killed.process.wait(10)
    url = address(killed)
    served = post(url + "/greet", name="Bo")

    again = terminal("serve", "--port", "0")

    at = again.until(r"resumed   generation 1 serves, no model was loaded again; meanwhile 1 request")
    at = again.until(r"✓ resumed", again.until(r"kept     words 4.2 kB  in memory", at))
    (project / "app.py").write_text(APP.replace("hello", "goodbye"))
    again.until(r"✓ #1 ", again.until(r"\+ goodbye Ada!", at))
    assert (served, address(again)) == ('"hello Bo!"', url)
    assert post(url + "/greet", name="Bo") == '"goodbye Bo!"'
    again.type("q\n")
    assert again.end() == 0


def test_what_nobody_was_shown_of_an_app_that_is_gone_is_counted_and_not_taken_for_live(
    terminal, project, own_state_directory
):
    def recorded():
        with contextlib.closing(sqlite3.connect(project / ".hotloop/history.db")) as rows:
            return [number for (number,) in rows.execute("SELECT number FROM iteration ORDER BY id")]

    killed = terminal("serve", "--port", "0")
    at = killed.until(r"✓ started")
    (project / "app.py").write_text(APP.replace("hello", "goodbye").replace("return f", 'print("at work"); return f'))
    killed.until(r"✓ #1 ", at)
    assert wait_until(lambda: recorded() == [0, 1])
    killed.process.send_signal(signal.SIGSTOP)  # it reads no more, and is not to find another agent
    post(address(killed) + "/greet", name="Bo")
    (kept,) = own_state_directory.glob("sessions/*/events.jsonl")
    assert wait_until(lambda: b'"request_finished"' in kept.read_bytes())
    os.kill(_agent_of(own_state_directory), signal.SIGKILL)
    killed.process.kill()
    killed.process.wait(10)

    again = terminal("serve", "--port", "0")

    again.until(r"✓ started", again.until(r"of what ran before, this may not have been shown: 1 request, \d log line"))
    assert "#1" not in again.text
    assert wait_until(lambda: recorded() == [0, 1, 0])
    logs = subprocess.run([*COMMAND, "logs"], cwd=project, capture_output=True, text=True, check=True).stdout
    assert logs.count("at work") == 3  # by probe and request, and by the probe of the app that runs now
    again.type("q\n")
    assert again.end() == 0


def test_no_request_fails_while_clients_are_killed_amid_saves_and_others_go_on(terminal, project):
    loop = terminal("serve", "--port", "0")
    at = loop.until(r"✓ started")
    url, answers, is_over = address(loop), [], threading.Event()

    def send():
        while not is_over.is_set():
            answers.append(json.loads(post(url + "/greet", name="Bo")))

    sending = threading.Thread(target=send)
    sending.start()
    try:
        for number in range(1, 4):
            (project / "app.py").write_text(APP.replace("hello", f"hello {number}"))
            loop.until(r"#1 app.py", at)
            loop.process.kill()
            loop.process.wait(10)
            loop = terminal("serve", "--port", "0")
            at = loop.until(r"✓ resumed", loop.until("resumed"))
        assert wait_until(lambda: answers[-1] == "hello 3 Bo!")
    finally:
        is_over.set()
        sending.join()

    told = [int(text.split()[1]) if text != "hello Bo!" else 0 for text in answers]
    assert told == sorted(told)


def test_a_save_made_while_no_client_was_there_is_served_by_the_next_one(terminal, project):
    killed = terminal("serve", "--port", "0")
    killed.until(r"✓ started")
    killed.process.kill()
    killed.process.wait(10)

    (project / "app.py").write_text(APP.replace("hello", "goodbye"))
    again = terminal("serve", "--port", "0")

    # Told as of when it is printed: the save may have gone live before.
    again.until(r"✓ resumed", again.until(r"goodbye Ada!", again.until(r"resumed   generation [12] serves")))


def test_another_configuration_starts_anew(terminal):
    killed = terminal("serve", "--port", "0")
    killed.until(r"✓ started")
    killed.process.kill()
    killed.process.wait(10)

    again = terminal("serve", "--port", "0", "--replicas", "2")

    again.until(r"2 workers serve generation 1")
    assert "resumed" not in again.text


def test_d_leaves_the_app_running_and_another_client_goes_on_with_it(terminal, own_state_directory):
    first = terminal("serve", "--port", "0")
    first.until(r"✓ started")
    first.type("d\n")
    code = first.end()
    served = post(address(first) + "/greet", name="Bo")

    second = terminal("serve", "--port", "0")
    second.until(r"✓ resumed", second.until("resumed"))
    second.type("\x03")

    assert (code, served, second.end()) == (0, '"hello Bo!"', 130)
    assert "left running without a client" in first.text
    assert wait_until(lambda: not processes_of(own_state_directory))


def test_take_ends_the_client_that_has_the_session(terminal, project):
    first = terminal("serve", "--port", "0")
    first.until(r"✓ started")

    second = terminal("serve", "--port", "0", "--take")
    at = second.until(r"✓ resumed", second.until("resumed"))

    assert first.end() == 1
    assert re.search(
        r"Another client took over this session. It is held by \S+@\S+ \(pid \d+\) since \d\d:\d\d", first.text
    )
    (project / "app.py").write_text(APP.replace("hello", "goodbye"))
    second.until(r"✓ #1 ", at)
    pins = subprocess.run([*COMMAND, "pin", "--list"], cwd=project, capture_output=True, text=True, check=True)
    assert pins.stdout == ""  # its control socket answers


def test_another_terminal_shows_a_session_and_ends_it(terminal, project, own_state_directory):
    loop = terminal("serve", "--port", "0")
    at = loop.until(r"✓ started")
    onlooker = Terminal(["attach"], project)
    shown = onlooker.until(r"generation 1 serves", onlooker.until(r"generation 1 at http://\S+, revision 1; held by"))
    shown = onlooker.until(r"probe    ada", shown)

    (project / "app.py").write_text(APP.replace("hello", "goodbye"))
    loop.until(r"✓ #1 ", at)
    shown = onlooker.until(r"✓ #1 ", onlooker.until(r"\+ goodbye Ada!", shown))  # what the loop alone knows
    post(address(loop) + "/greet", name="Bo")
    shown = onlooker.until(r"POST /greet 200", shown)
    told = subprocess.run([*COMMAND, "status"], capture_output=True, text=True, check=True).stdout
    (session,) = json.loads(subprocess.run([*COMMAND, "status", "--json"], capture_output=True, check=True).stdout)[
        "sessions"
    ]
    stopped = subprocess.run([*COMMAND, "stop"], cwd=project, capture_output=True, text=True, check=True)

    onlooker.until(r"the session was ended by .*\n(.*\n)*the session ended", shown)
    assert (onlooker.end(), loop.end(), stopped.stderr) == (0, 1, f"stopped {project}\n")
    os.close(onlooker.master)
    assert re.search(r"the session was ended by \S+@\S+", loop.text)
    assert (session["project"], session["generation"], session["holder_pid"]) == (str(project), 2, loop.process.pid)
    assert [model["name"] for model in session["models"]] == ["words"]
    assert "model words: 4.2 kB, resident" in told
    assert f"(pid {loop.process.pid}) for" in told
    assert wait_until(lambda: not processes_of(own_state_directory))


def test_without_a_session_status_says_so_and_attach_and_stop_are_refused(project):
    told = subprocess.run([*COMMAND, "status"], capture_output=True, text=True, check=True)
    refused = [
        subprocess.run([*COMMAND, name], cwd=project, capture_output=True, text=True, check=False)
        for name in ("attach", "stop")
    ]

    assert told.stdout == "local: no session is open\n"
    assert [(done.returncode, done.stderr.splitlines()[0]) for done in refused] == [
        (2, f"error: no session of {project} is open on local")
    ] * 2


def test_a_session_that_was_left_too_long_says_so_to_the_next_client(terminal, project, own_state_directory):
    (project / "pyproject.toml").write_text("[tool.hotloop]\nidle_timeout_s = 1\n")
    left = terminal("serve", "--port", "0", "--detach")
    assert left.end() == 0
    assert wait_until(lambda: not processes_of(own_state_directory))

    loop = terminal("serve", "--port", "0")

    loop.until(
        r"✓ started", loop.until(r"the session ended at \d\d:\d\d after \S+ m?s without a client; models were freed")
    )


def _agent_of(state):
    for pid in processes_of(state):
        if b"hotloop.remote_runner.agent" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return int(pid)
    return pytest.fail("no agent runs")


@pytest.mark.parametrize("options", [["--json"], []])
def test_a_reader_that_is_gone_ends_the_session(project, own_state_directory, options):
    loop = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", *options, "--python", BARE_PYTHON],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    loop.stdout.readline()
    loop.stdout.close()

    assert loop.wait(DEADLINE_S) == 1
    assert loop.stderr.read() == b""
    assert wait_until(lambda: not processes_of(own_state_directory))


def test_a_reader_that_stops_reading_does_not_stop_the_loop(project):
    loop = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", "--json", "--python", BARE_PYTHON], cwd=project, stdout=subprocess.PIPE
    )
    fcntl.fcntl(loop.stdout, F_SETPIPE_SZ, 4096)
    try:
        told = map(json.loads, iter(loop.stdout.readline, b""))
        url = next(event["address"] for event in told if event["kind"] == "runtime_started")
        next(event for event in told if event["kind"] == "iteration_finished")
        for number in range(60):
            post(f"{url}/greet", name=f"{number}")
        pinned = subprocess.run([*COMMAND, "pin"], cwd=project, capture_output=True, text=True, timeout=30, check=False)
    finally:
        loop.send_signal(signal.SIGINT)
        kinds = [json.loads(line)["kind"] for line in loop.communicate(timeout=DEADLINE_S)[0].splitlines()]

    assert pinned.stderr == "pinned POST /greet\n"
    assert kinds.count("request_finished") >= 10
    assert kinds[-1] == "session_ended"


def test_once_exits_0_when_all_is_well_and_1_when_not(project):
    command = [*COMMAND, "serve", "--once", "--json", "--port", "0", "--python", BARE_PYTHON]

    good = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60, check=False)
    (project / "app.py").write_text(APP + "\nraise ValueError('no')\n")
    bad = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60, check=False)

    kinds = [json.loads(line)["kind"] for line in good.stdout.splitlines()]
    assert (good.returncode, good.stderr) == (0, "")
    assert kinds[0] == "session_started"
    assert "iteration_finished" in kinds
    assert kinds[-1] == "session_ended"
    assert bad.returncode == 1
    (failed,) = [json.loads(line) for line in bad.stdout.splitlines() if '"reload_failed"' in line]
    assert failed["problem"]["frames"][-1]["file"] == "app.py"


def test_a_port_that_is_taken_ends_with_its_holder_if_no_other_will_do(project):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*COMMAND, "serve", "--port", str(port), "--strict-port", "--python", BARE_PYTHON],
            cwd=project, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    assert done.returncode == 1
    assert f"port {port} on 127.0.0.1 is in use by" in done.stdout
    assert f"(pid {os.getpid()})" in done.stdout
    assert "--port" in done.stdout


def test_ports_that_are_taken_give_way_to_the_next_and_it_is_said(terminal):
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as other:
        port, grpc_port = taken.getsockname()[1], other.getsockname()[1]
        loop = terminal("serve", "--port", str(port), "--grpc-port", str(grpc_port), "--once")

        assert loop.end() == 0

    for wanted in (port, grpc_port):
        assert re.search(rf"! port {wanted} is in use by .*\(pid {os.getpid()}\); serving on \d+", loop.text)


def test_endpoints_are_served_by_grpc_until_ctrl_c(terminal, project, own_state_directory):
    loop = terminal("serve", "--port", "0", "--grpc-port", "0")
    at = loop.until(r"✓ started")
    host, port = re.search(r"^gRPC +([\d.]+):(\d+)$", loop.text, re.MULTILINE).groups()

    with grpc.insecure_channel(f"{host}:{port}") as channel:
        client = Client(channel)
        answer = client.call(pb.Request(endpoint="greet", body=b'{"name": "Bo"}'))
        (project / "app.py").write_text(APP.replace('"hello"', '"goodbye"'))
        at = loop.until(r"✓ #1 ", at)
        again = client.call(pb.Request(endpoint="greet", body=b'{"name": "Bo"}'))
        loop.until(r"POST /greet 200", at)
        loop.type("\x03")

        assert (loop.end(), host) == (130, "127.0.0.1")
    assert [json.loads(each.body) for each in (answer, again)] == ["hello Bo!", "goodbye Bo!"]
    assert wait_until(lambda: not processes_of(own_state_directory))
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) != 0


def test_grpc_is_served_by_run_and_by_a_projects_settings(project):
    (project / "pyproject.toml").write_text("[tool.hotloop]\ngrpc_port = 0\n")
    loop = subprocess.Popen(
        [*COMMAND, "run", "--port", "0", "--json", "--python", BARE_PYTHON],
        cwd=project, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        started = next(event for event in map(json.loads, loop.stdout) if event["kind"] == "runtime_started")
        with grpc.insecure_channel(started["grpc_address"]) as channel:
            answer = Client(channel).call(pb.Request(endpoint="greet", body=b'{"name": "Bo"}'), timeout=DEADLINE_S)
    finally:
        loop.send_signal(signal.SIGINT)
        loop.communicate(timeout=DEADLINE_S)

    assert json.loads(answer.body) == "hello Bo!"
    assert loop.returncode == 130


def test_a_grpc_port_that_is_taken_ends_with_its_holder_if_no_other_will_do(project):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*COMMAND, "serve", "--port", "0", "--grpc-port", str(port), "--strict-port", "--python", BARE_PYTHON],
            cwd=project, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    assert done.returncode == 1
    assert f"port {port} on 127.0.0.1 is in use by" in done.stdout
    assert f"(pid {os.getpid()})" in done.stdout
    assert "--grpc-port" in done.stdout
    assert "serving" not in done.stdout


def test_a_broken_first_version_is_shown_and_the_next_save_serves(terminal, project):
    (project / "app.py").write_text(APP.replace("return f", "return nothing(f"))
    loop = terminal("serve", "--port", "0")
    at = loop.until(r"nothing serves yet; the next save tries again")

    (project / "app.py").write_text(APP)

    loop.until(r"✓ #1 ", at)


def test_saves_of_an_app_without_probes_are_told_to_their_end(terminal, project):
    app = APP.partition("@app.probe")[0]
    (project / "app.py").write_text(app)
    loop = terminal("serve", "--port", "0")
    at = loop.until(r"✓ started")

    for number in (1, 2, 3):
        (project / "app.py").write_text(app.replace("hello", f"hello {number}"))
        at = loop.until(rf"✓ #{number} ", at)


@pytest.mark.parametrize("content", [b"not a database" * 100, None])
def test_a_broken_history_is_said_once_and_the_loop_goes_on(project, content):
    folder = project / ".hotloop"
    folder.mkdir()
    if content is None:
        (folder / "history.db").mkdir()
    else:
        (folder / "history.db").write_bytes(content)

    done = subprocess.run(
        [*COMMAND, "serve", "--once", "--port", "0", "--python", BARE_PYTHON],
        cwd=project, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 0
    assert done.stdout.count("history.db can't be written") == 1


def test_run_serves_without_watching(terminal, project):
    served = terminal("run", "--port", "0")
    served.until(r"✓ started")

    (project / "app.py").write_text(APP.replace("hello", "goodbye"))

    assert post(address(served) + "/greet", name="Bo").strip('"') == "hello Bo!"
    served.type("\x03")
    assert served.end() == 130
    assert "#1" not in served.text
