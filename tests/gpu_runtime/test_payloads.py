"""Large bodies and answers through a real runtime: right, and nothing of them left when clients or workers go."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import time
from pathlib import Path

import pytest

from hotloop import events
from tests.gpu_runtime.driver import RuntimeDriver

APP = """
import os
import signal
import time

import hotloop

app = hotloop.App("payloads")
kept = []


@app.endpoint
def echo(data: bytes) -> bytes:
    return data


@app.endpoint
def keep(data: bytes) -> int:
    kept.append(data)
    return len(kept)


@app.endpoint(batch=hotloop.Batch(max_size=4, key=len))
def lengths(data: list[bytes]) -> list[int]:
    return [len(each) for each in data]


@app.endpoint(batch=hotloop.Batch(max_size=16))
def floats(data: list[bytes]) -> list[list[float]]:
    time.sleep(0.3)
    return [[n / 7 for n in range(int(each))] for each in data]


@app.endpoint
def many(count: int) -> bytes:
    return b"x" * count


@app.endpoint(idempotent=True)
def die(data: bytes, once: str) -> str:
    if os.path.exists(once):
        return str(len(data))
    open(once, "w").close()
    os.kill(os.getpid(), signal.SIGKILL)
"""
MB = 1 << 20


@pytest.fixture
def driver(tmp_path: Path):
    with RuntimeDriver(tmp_path, {"app.py": APP}) as driver:
        driver.wait_for(events.StandbyReady)
        yield driver


def connect(driver: RuntimeDriver) -> socket.socket:
    host, port = driver.address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def post(sock: socket.socket, path: str, body: bytes = b"") -> None:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\ncontent-length: {len(body)}\r\n\r\n"
    sock.sendall(head.encode() + body)


def response(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(1 << 16)
    head, _, body = data.partition(b"\r\n\r\n")
    assert b" 200 " in head, (head, body)
    size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    pieces = [body]
    left = size - len(body)
    while left:
        pieces.append(sock.recv(min(left, 1 << 20)))
        left -= len(pieces[-1])
    return b"".join(pieces)


def num_buffers(pid: int) -> int:
    return Path(f"/proc/{pid}/maps").read_text().count("hotloop-payload")


def until(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("size", [128 * 1024 - 1, 128 * 1024, 128 * 1024 + 1, 3 * MB, 63 * MB])
def test_a_body_of_any_size_comes_back_as_it_went(driver, size):
    body = hashlib.shake_128(b"%d" % size).digest(size)
    with connect(driver) as sock:
        for _ in range(3):
            post(sock, "/echo", body)
            assert response(sock) == body
        post(sock, "/lengths", body)
        assert response(sock) == b"%d" % size


def test_the_floats_of_a_batch_come_as_json_whoever_writes_them(driver):
    counts = [1, 500, 3000, *[1500] * 13]  # in all more than a frame carries in itself, and than the front writes
    with contextlib.ExitStack() as stack:
        first, *others = (stack.enter_context(connect(driver)) for _ in range(1 + len(counts)))
        post(first, "/floats", b"5")
        for sock, count in zip(others, counts, strict=True):
            post(sock, "/floats", b"%d" % count)

        assert json.loads(response(first)) == [n / 7 for n in range(5)]
        for sock, count in zip(others, counts, strict=True):
            assert json.loads(response(sock)) == [n / 7 for n in range(count)]


def test_bodies_that_the_app_keeps_cost_the_front_no_buffers(driver):
    with connect(driver) as sock:
        for number in range(40):
            post(sock, "/keep", bytes(MB))
            assert response(sock) == b"%d" % (number + 1)

    assert num_buffers(driver.pid) <= 2


def test_a_worker_that_dies_leaves_no_memory_and_the_body_is_sent_again(driver, tmp_path):
    body = os.urandom(2 * MB)
    with connect(driver) as sock:
        post(sock, f"/die?once={tmp_path}/once", body)
        assert response(sock) == b'"%d"' % len(body)
        until(lambda: num_buffers(driver.pid) == 1)  # the new worker's
        post(sock, "/echo", body)
        assert response(sock) == body


def test_an_answer_under_way_outlives_its_worker(driver):
    with connect(driver) as sock:
        post(sock, "/many?count=50000000")
        assert sock.recv(100)
        (worker,) = (
            [e.pid for e in driver.events if isinstance(e, events.Ready)] if hasattr(events.Ready, "pid") else [0]
        )
        for pid, command in driver.tree().items():
            if num_buffers(pid):
                worker = pid
                assert command
        os.kill(worker, 9)
        left = 0
        while data := sock.recv(1 << 20):
            left += len(data)
            if left >= 50_000_000:
                break

    assert left >= 50_000_000
    until(lambda: num_buffers(driver.pid) == 0)


def test_clients_that_leave_amid_their_answers_give_the_buffers_back(driver):
    for _ in range(40):
        with connect(driver) as sock:
            post(sock, "/many?count=4000000")
            assert sock.recv(100)
    with connect(driver) as sock:
        post(sock, "/many?count=4000000")
        assert response(sock) == b"x" * 4_000_000

    assert num_buffers(driver.pid) <= 4
