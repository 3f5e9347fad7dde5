"""`dev run` as a service manager has it: a signal to end lets what is under way be answered first."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest
from tests.cli.served import DEADLINE_S, Loop

APP = """
import time
from pathlib import Path

import hotloop

app = hotloop.App("tiny")


@app.endpoint
def held(folder: str) -> str:
    Path(folder, "begun").touch()
    while not Path(folder, "go").exists():
        time.sleep(0.01)
    print("this was answered")
    return "done"


@app.endpoint
def ticks(folder: str):
    yield "begun"
    Path(folder, "begun").touch()
    while not Path(folder, "go").exists():
        time.sleep(0.01)
    yield "done"
"""

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def served(tmp_path):
    """Serves the app; gives the loop and a folder that it and the app share."""
    project, shared = tmp_path / "project", tmp_path / "shared"
    project.mkdir()
    shared.mkdir()
    (project / "app.py").write_text(APP)
    loop = Loop(project, verb="run")
    loop.until("ready")
    yield loop, shared
    (shared / "go").touch()
    loop.close()


class Asked(threading.Thread):
    """A request under way, and what came of it."""

    def __init__(self, loop, endpoint, folder):
        super().__init__(daemon=True)
        self.address = urlsplit(loop.until("runtime_started")[0]["address"])
        self._path, self._body = f"/{endpoint}", json.dumps({"folder": str(folder)})
        self.outcome = None
        self.start()

    def run(self):
        connection = http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=DEADLINE_S)
        try:
            connection.request("POST", self._path, self._body, {"content-type": "application/json"})
            answer = connection.getresponse()
            self.outcome = (answer.status, answer.read().decode())
        except (OSError, http.client.HTTPException) as error:
            self.outcome = error
        finally:
            connection.close()

    def result(self):
        self.join(DEADLINE_S)
        return self.outcome


def until_begun(shared):
    deadline = time.monotonic() + DEADLINE_S
    while not (shared / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_refused(address):
    with socket.socket() as probe:
        return probe.connect_ex((address.hostname, address.port)) != 0


def test_requests_under_way_are_answered_and_told_of_before_it_ends(served):
    loop, shared = served
    asked = Asked(loop, "held", shared)
    until_begun(shared)

    loop.process.send_signal(signal.SIGTERM)
    notice, at = loop.until("notice", key="finishing")
    is_closed = is_refused(asked.address)
    (shared / "go").touch()

    assert notice["text"] == "finishing 1 request, for 30 s at most"
    assert is_closed
    assert asked.result() == (200, '"done"')
    loop.until("log", at, text="this was answered")
    loop.until("request_finished", at, status=200)
    assert loop.process.wait(DEADLINE_S) == 128 + signal.SIGTERM


def test_a_stream_under_way_is_sent_to_its_end(served):
    loop, shared = served
    asked = Asked(loop, "ticks", shared)
    until_begun(shared)

    loop.process.send_signal(signal.SIGINT)
    loop.until("notice", key="finishing")
    (shared / "go").touch()

    status, body = asked.result()
    assert (status, body.count("begun"), body.count("done")) == (200, 1, 1)
    assert loop.process.wait(DEADLINE_S) == 128 + signal.SIGINT


def test_a_second_signal_ends_it_at_once_and_its_processes_do_not_wait_either(served):
    loop, shared = served
    asked = Asked(loop, "held", shared)
    until_begun(shared)
    loop.process.send_signal(signal.SIGTERM)
    loop.until("notice", key="finishing")

    loop.process.send_signal(signal.SIGTERM)

    assert loop.process.wait(DEADLINE_S) == 128 + signal.SIGTERM
    assert is_refused(asked.address)
    status, body = asked.result()
    assert status == 502
    assert "hotloop was stopped" in json.loads(body)["error"]["message"]


def test_nothing_under_way_ends_it_at_once_though_a_client_stays_connected(served):
    loop, _ = served
    address = urlsplit(loop.until("runtime_started")[0]["address"])
    with socket.create_connection((address.hostname, address.port)) as idle:
        loop.process.send_signal(signal.SIGTERM)

        assert loop.process.wait(DEADLINE_S) == 128 + signal.SIGTERM
        idle.settimeout(DEADLINE_S)
        assert idle.recv(1) == b""
    assert not [event for event in loop.told if event.get("key") == "finishing"]
