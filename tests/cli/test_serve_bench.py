"""`dev serve --bench` with real processes: load after each reload, none beside a save, nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.cli.test_serve import BARE_PYTHON, COMMAND, DEADLINE_S, post, processes_of, wait_until
from tests.devloop.load.server import TIMED, Server

from hotloop.devloop.history import History
from hotloop.devloop.load.job import Job, Result

APP = """
import hotloop

app = hotloop.App("tiny")
PREFIX = "hello"


@app.endpoint
def greet(name: str) -> str:
    return f"{PREFIX} {name}"


@app.probe
def ada(client):
    return client.greet(name="Ada")
"""
FAILING = APP.replace("    return f", "    if name != 'Ada':\n        raise KeyError(name)\n    return f")
DATA = ["--bench-data", '{"name": "Bo"}']
BRIEF = ["--bench-duration", "0.3"]
PROCESS = [sys.executable, "-P", "-m", "hotloop.devloop.load.process"]

pytestmark = pytest.mark.timeout(120)


class Loop:
    """A running `dev serve --json`, and the events that it has told."""

    def __init__(self, project, arguments):
        self.process = subprocess.Popen(
            [*COMMAND, "serve", "--json", "--port", "0", "--python", BARE_PYTHON, *arguments], cwd=project, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.told = []
        self._incoming = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self._incoming.put(json.loads(line))

    def until(self, kind, **fields):
        """Give the next event of a kind with these fields."""
        while True:
            try:
                self.told.append(self._incoming.get(timeout=DEADLINE_S))
            except queue.Empty:
                pytest.fail(f"{kind} {fields} was not told; told was {[event['kind'] for event in self.told]}")
            event = self.told[-1]
            if event["kind"] == kind and all(event[name] == value for name, value in fields.items()):
                return event

    def of(self, kind):
        return [event for event in self.told if event["kind"] == kind]

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)


@pytest.fixture
def project(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def serve(project):
    opened = []

    def open_(*arguments):
        opened.append(Loop(project, arguments))
        return opened[-1]

    yield open_
    for each in opened:
        if each.process.poll() is None:
            each.end()


def benchers(state):
    """Processes of a state folder that send load."""
    return [pid for pid in processes_of(state) if b"devloop.load.process" in _command(pid)]


def _command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_each_generation_is_benched_and_compared_with_the_last(serve, project):
    # Of a bench of 0.3 s a busy machine can leave too little to compare with.
    loop = serve("--bench", "greet", "--bench-duration", "1.5", *DATA)
    first = loop.until("bench_finished", generation=1)

    (project / "app.py").write_text(APP.replace("hello", "goodbye"))
    second = loop.until("bench_finished", generation=2)
    if second["previous"] is None:
        # Once a session a zygote takes another's place, for what it learned: what was measured while it was made counts
        # for nothing, and this save was quicker than the next bench.
        (project / "app.py").write_text(APP.replace("hello", "farewell"))
        second = loop.until("bench_finished", generation=3)

    assert first["endpoint"] == "/greet"
    assert (first["errors"], first["previous"], first["throughput"], first["repeat"]) == ({}, None, None, 0)
    assert first["requests"] == pytest.approx(first["requests_per_s"] * first["duration_s"], rel=0.2)
    assert 0 < first["p50_s"] <= first["p99_s"]
    assert second["previous"] == second["generation"] - 1
    assert second["throughput"]["ratio"] > 0
    assert second["throughput"]["low"] <= second["throughput"]["high"]
    assert loop.of("request_finished") == []  # its requests are in no log
    assert loop.end() == 128 + signal.SIGTERM
    kept = History(project / ".hotloop" / "history.db").benches()
    assert [(bench.generation, bench.endpoint) for bench in kept][-1] == (second["generation"], "/greet")
    assert kept[-1].requests_per_s == second["requests_per_s"]
    assert [each["iteration"]["outcome"] for each in loop.of("iteration_finished")] == ["ok"] * second["generation"]


def test_a_save_ends_the_bench_under_way(serve, project, own_state_directory):
    loop = serve("--bench", "greet", *DATA)
    loop.until("standby_ready")
    (pid,) = wait_until(lambda: benchers(own_state_directory))

    (project / "app.py").write_text(APP.replace("hello", "goodbye"))
    loop.until("ready", generation=2)

    assert _command(pid) == b""
    assert loop.until("bench_finished")["generation"] == 2
    assert loop.of("bench_failed") == []


def test_a_save_without_a_change_has_the_bench_begin_again(serve, project, own_state_directory):
    loop = serve("--bench", "greet", *DATA)
    loop.until("standby_ready")
    pids = wait_until(lambda: benchers(own_state_directory))

    (project / "app.py").write_text(APP)

    assert wait_until(lambda: [pid for pid in benchers(own_state_directory) if pid not in pids])
    assert loop.until("bench_finished")["generation"] == 1


def test_an_endpoint_that_fails_is_told_with_its_reason(serve, project):
    (project / "app.py").write_text(FAILING)
    loop = serve("--bench", "greet", *BRIEF, *DATA)

    failed = loop.until("bench_failed")

    assert failed["generation"] == 1
    assert "/greet answered 500: " in failed["problem"]["message"]
    assert "app.py:" in failed["problem"]["message"]
    (project / "app.py").write_text(APP)
    assert loop.until("bench_finished")["generation"] == 2


def test_an_endpoint_that_is_not_there_is_benched_when_a_save_brings_it(serve, project):
    loop = serve("--bench", "welcome", *BRIEF, *DATA)
    failed = loop.until("bench_failed")

    (project / "app.py").write_text(APP.replace("greet", "welcome"))

    assert failed["problem"]["message"] == "there is no endpoint 'welcome' to bench"
    assert failed["problem"]["hint"] == "the app has: greet"
    assert loop.until("bench_finished")["endpoint"] == "/welcome"


def test_a_pinned_request_says_what_is_sent(serve, project):
    loop = serve("--bench", "greet", *BRIEF)
    refused = loop.until("bench_failed")
    address = loop.of("runtime_started")[0]["address"]
    assert post(address + "/greet", name="Bo").strip('"') == "hello Bo"
    loop.until("request_finished")
    subprocess.run([*COMMAND, "pin"], cwd=project, check=True, capture_output=True)

    (project / "app.py").write_text(APP.replace("hello", "goodbye"))

    assert "/greet answered 422" in refused["problem"]["message"]
    assert "--bench-data" in refused["problem"]["hint"]
    assert loop.until("bench_finished")["errors"] == {}


def test_what_is_pinned_by_key_is_not_a_request_of_the_bench(serve, project):
    loop = serve("--bench", "greet", *BRIEF, *DATA)
    loop.until("bench_finished")

    done = subprocess.run([*COMMAND, "pin"], cwd=project, check=False, capture_output=True, text=True)

    assert done.returncode == 1
    assert "no request to pin" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_end_of_the_session_leaves_no_bench(serve, own_state_directory, number):
    loop = serve("--bench", "greet", *DATA)
    loop.until("standby_ready")
    assert wait_until(lambda: benchers(own_state_directory))

    assert loop.end(number) == 128 + number
    assert not benchers(own_state_directory)
    assert wait_until(lambda: not processes_of(own_state_directory))


def test_a_bench_ends_with_the_loop_that_was_killed(serve, own_state_directory):
    loop = serve("--bench", "greet", *DATA)
    loop.until("standby_ready")
    pids = wait_until(lambda: benchers(own_state_directory))

    loop.end(signal.SIGKILL)

    assert wait_until(lambda: not any(_command(pid) for pid in pids))
    for pid in processes_of(own_state_directory):  # the agent and the app wait for another client
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGTERM)


def test_plain_lines_tell_a_bench(project):
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0", "--python", BARE_PYTHON, "--bench", "greet", *BRIEF, *DATA],
        cwd=project, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        line = next(line for line in process.stdout if line.startswith("  bench "))
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_S)

    assert "/greet" in line
    assert "requests, 8 at a time" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bench", "x", "--bench-data", "{"], "--bench-data is not JSON"),
        (["--bench", "x", "--bench-data", "[1]"], "an object of the endpoint's arguments was expected"),
        (["--bench-data", "{}"], "--bench-data says what a bench sends, and there is none"),
        (["--bench", "x", "--once"], "--once ends when the probes ran"),
    ],
)
def test_wrong_use_is_told_in_two_lines(project, arguments, said):
    done = subprocess.run([*COMMAND, "serve", *arguments], cwd=project, capture_output=True, text=True, check=False)

    error, hint = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert said in error
    assert hint.startswith("hint: ")


# --- the process that sends -------------------------------------------------------------------------------------------


def bench_process():
    pipe = subprocess.PIPE
    return subprocess.Popen(PROCESS, stdin=pipe, stdout=pipe, stderr=pipe)


def request_to(url):
    host = url.removeprefix("http://")
    return f"POST /x HTTP/1.1\r\nhost: {host}\r\ncontent-length: 2\r\n\r\n{{}}".encode()


def result_of(url):
    process = bench_process()
    process.stdin.write(Job(url, "/x", request_to(url), duration_s=0.8).to_line())
    process.stdin.flush()
    line = process.stdout.readline()
    assert process.wait(10) == 0
    assert process.stderr.read() == b""
    process.stdin.close()
    return Result.from_line(line)


def test_the_process_measures_what_a_server_does():
    with Server(lambda _: TIMED, pause_s=lambda _: 0.02) as server:
        figures = result_of(server.url).figures

    assert figures.num_requests == pytest.approx(figures.requests_per_s * 0.8, rel=0.15)
    assert figures.p50_s >= 0.02
    assert len(figures.rates_per_s) == len(figures.p99s_s) == 8
    assert sum(figures.rates_per_s) / 8 == pytest.approx(figures.requests_per_s)
    assert server.num_connections == 9  # one for the request that was tried first


def test_calls_that_take_longer_than_a_bench_are_told():
    with Server(pause_s=lambda number: 1.2 if number else 0.0) as server:
        problem = result_of(server.url).problem

    assert problem.type == "TooSlow"
    assert "within the 0.8 s of a bench" in problem.message


def test_a_server_that_only_refuses_is_told():
    busy = b"HTTP/1.1 429 X\r\ncontent-length: 0\r\n\r\n"
    with Server(lambda _: busy, pause_s=lambda _: 0.01) as server:
        problem = result_of(server.url).problem

    assert problem.type == "BenchFailed"
    assert problem.message.endswith("status 429")


def test_a_server_that_is_gone_is_told():
    assert "can't be reached" in result_of("http://127.0.0.1:1").problem.message


def test_the_process_ends_when_whoever_asked_is_gone():
    with Server(pause_s=lambda _: 3600) as server:
        process = bench_process()
        process.stdin.write(Job(server.url, "/x", request_to(server.url)).to_line())
        process.stdin.flush()
        assert wait_until(lambda: server.requests)

        process.stdin.close()

        assert process.wait(10) == 1
        assert process.stderr.read() == b""
