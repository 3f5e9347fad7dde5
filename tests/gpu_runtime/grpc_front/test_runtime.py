"""A real runtime with real workers, called by gRPC: reloads, generators, ports, and what there is when nobody asks."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from bisect import bisect
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # runtimes are started while channels are open

import grpc
import pytest

from hotloop import events
from tests.gpu_runtime.driver import RuntimeDriver
from tests.gpu_runtime.grpc_front.calling import Client, Failure

APP = """
import pathlib
import time

import hotloop

app = hotloop.App("grpc")
VERSION = 1
LOG = pathlib.Path({log!r})


@app.model
def table():
    return {{"answer": 42}}


@app.endpoint
def answer(n: int, table) -> list[int]:
    time.sleep(0.001)
    return [VERSION, table["answer"] + n]


@app.endpoint
def fail(text: str) -> str:
    raise ValueError(text)


@app.endpoint
async def count(last: int):
    import asyncio

    try:
        for number in range(last):
            yield {{"version": VERSION, "number": number}}
            await asyncio.sleep(0.01)
    finally:
        with LOG.open("a") as log:
            log.write("closed\\n")
"""
JSON_LINES = "application/x-ndjson"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.touch()
    return path


@pytest.fixture
def driver(tmp_path: Path, log: Path):
    with RuntimeDriver(tmp_path, {"app.py": APP.format(log=str(log))}, grpc_port=0) as driver:
        driver.wait_reload(1)
        yield driver


@pytest.fixture
def client(driver: RuntimeDriver):
    with grpc.insecure_channel(address_of(driver)) as channel:
        yield Client(channel)


def address_of(driver: RuntimeDriver) -> str:
    return next(event for event in driver.events if isinstance(event, events.RuntimeStarted)).grpc_address


def version(driver: RuntimeDriver, log: Path, number: int) -> events.Event:
    """Save the app with another version, and wait until it serves."""
    text = APP.format(log=str(log)).replace("VERSION = 1", f"VERSION = {number}")
    return driver.wait_reload(driver.save({"app.py": text}))


def failure_of(call) -> Failure:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return Failure(caught.value)


def refusal_by(address: str) -> Failure | None:
    """How a call from a client that comes now fails; None if it is answered, or reaches the port as that closes."""
    with grpc.insecure_channel(address) as channel:
        try:
            Client(channel).call(request("answer", n=1), timeout=2)
        except grpc.RpcError as error:
            return Failure(error) if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED else None
    return None


def numbers(data: bytes) -> list[int]:
    return [json.loads(line)["number"] for line in data.decode().splitlines()]


def wait_until(condition, timeout_s: float = 20):
    deadline = time.monotonic() + timeout_s
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return value


def has_grpc(pid: int) -> bool:
    return "cygrpc" in Path(f"/proc/{pid}/maps").read_text()


def test_endpoints_are_served_by_grpc_as_by_http(driver: RuntimeDriver, client: Client):
    answer, call = client.call.with_call(request("answer", n=1))
    metadata = dict(call.trailing_metadata())

    assert (answer.content_type, json.loads(answer.body)) == ("application/json", driver.call("answer", n=1).json)
    assert metadata["x-hotloop-generation"] == "1"
    assert metadata["x-hotloop-batch-size"] == "1"
    assert float(metadata["x-hotloop-compute-ms"]) >= 1


def request(endpoint: str, accept: str = "", **arguments):
    from hotloop.gpu_runtime.grpc_front import serving_pb2 as pb

    return pb.Request(endpoint=endpoint, accept=accept, body=json.dumps(arguments).encode())


def test_what_an_endpoint_raises_is_the_calls_error(client: Client):
    failure = failure_of(lambda: client.call(request("fail", text="no such cat")))

    assert (failure.code, failure.text) == (grpc.StatusCode.INTERNAL, "no such cat")
    assert failure.error["type"] == "ValueError"
    assert failure.error["where"].startswith("app.py:")


def test_arguments_that_do_not_fit_are_the_callers_error(client: Client):
    failure = failure_of(lambda: client.call(request("answer", n="one")))

    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert failure.metadata["x-hotloop-status"] in {"400", "422"}
    assert failure.error["where"]


def test_a_generator_streams_to_its_end(client: Client, log: Path):
    pieces = list(client.stream(request("count", JSON_LINES, last=5)))

    assert pieces[0].content_type.startswith(JSON_LINES)
    assert numbers(b"".join(piece.data for piece in pieces)) == [0, 1, 2, 3, 4]
    assert log.read_text() == "closed\n"


def test_a_cancelled_stream_closes_its_generator(client: Client, log: Path):
    stream = client.stream(request("count", JSON_LINES, last=1_000_000))
    next(stream)
    stream.cancel()

    assert wait_until(lambda: log.read_text() == "closed\n")


def test_a_deadline_that_passes_within_a_stream_closes_its_generator(client: Client, log: Path):
    stream = client.stream(request("count", JSON_LINES, last=1_000_000), timeout=0.5)
    failure = failure_of(lambda: list(stream))

    assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert wait_until(lambda: log.read_text() == "closed\n")


def test_a_stream_of_the_old_generation_ends_in_its_own_code(driver: RuntimeDriver, client: Client, log: Path):
    stream = client.stream(request("count", JSON_LINES, last=100))
    data = next(stream).data
    assert isinstance(version(driver, log, 2), events.Ready)
    now = json.loads(client.call(request("answer", n=0)).body)
    data += b"".join(piece.data for piece in stream)

    assert now == [2, 42]
    assert numbers(data) == list(range(100))
    assert {json.loads(line)["version"] for line in data.decode().splitlines()} == {1}


@pytest.mark.timeout(120)
def test_no_call_is_lost_or_answered_by_replaced_code_while_reloads_go_on(
    driver: RuntimeDriver, client: Client, log: Path
):
    stop = threading.Event()
    sent: list[tuple[float, int, list[int]]] = []

    def call_on(_: int) -> None:
        while not stop.is_set():
            began_at_s = time.monotonic()
            answer, call = client.call.with_call(request("answer", n=0), timeout=60)
            generation = int(dict(call.trailing_metadata())["x-hotloop-generation"])
            sent.append((began_at_s, generation, json.loads(answer.body)))

    with ThreadPoolExecutor(8) as pool:
        callers = [pool.submit(call_on, number) for number in range(8)]
        try:
            for number in range(2, 12):
                assert isinstance(version(driver, log, number), events.Ready)
        finally:
            stop.set()
        for caller in callers:
            caller.result()  # raises what a lost call raised

    readies = [event for event in driver.events if isinstance(event, events.Ready)]
    times = [ready.at_s for ready in readies]
    versions = {ready.generation: ready.revision for ready in readies}
    assert [each for each in sent if each[2] != [versions[each[1]], 42]] == []
    assert [each for each in sent if each[1] < bisect(times, each[0])] == []
    assert {generation for _, generation, _ in sent} >= set(range(2, 12, 3))
    assert [event for event in driver.events if isinstance(event, events.Notice)] == []  # such as of grpc's own thread


def test_calls_wait_for_the_first_generation(tmp_path: Path, log: Path):
    slow = "import time\ntime.sleep(1)\n" + APP.format(log=str(log))
    with RuntimeDriver(tmp_path, {"app.py": slow}, grpc_port=0) as driver:
        with grpc.insecure_channel(address_of(driver)) as channel:
            answer = Client(channel).call(request("answer", n=0), timeout=40)

        assert json.loads(answer.body) == [1, 42]


def test_nothing_of_grpc_is_there_unless_it_is_asked_for(tmp_path: Path, log: Path):
    files = {"app.py": APP.format(log=str(log))}
    with (
        RuntimeDriver(tmp_path / "without", files) as without,
        RuntimeDriver(tmp_path / "with", files, grpc_port=0) as with_,
    ):
        for driver in (without, with_):
            driver.wait_for(events.StandbyReady)
        addresses = (address_of(without), address_of(with_))
        loaded = (has_grpc(without.pid), has_grpc(with_.pid))
        below = [has_grpc(pid) for pid in with_.tree()]

    assert addresses[0] == ""
    assert addresses[1].startswith("127.0.0.1:")
    assert loaded == (False, True)
    assert below
    assert not any(below)


def test_a_runtime_that_finishes_requests_sends_a_stream_to_its_end(tmp_path: Path, log: Path):
    files = {"app.py": APP.format(log=str(log))}
    with RuntimeDriver(tmp_path, files, grpc_port=0, finishes_requests=True) as driver:
        driver.wait_reload(1)
        with grpc.insecure_channel(address_of(driver)) as channel:
            stream = Client(channel).stream(request("count", JSON_LINES, last=100))
            next(stream)
            stopping = threading.Thread(target=driver.stop)
            stopping.start()
            driver.wait_for(events.Notice, key="finishing")
            refused = wait_until(lambda: refusal_by(address_of(driver)))  # gRPC closes its port a moment later
            pieces = [piece.data for piece in stream]
        stopping.join()

    assert b"".join(pieces).splitlines()[-1] == b'{"version":1,"number":99}'
    assert refused is not None  # where the call reached the port as it closed, it is the latter of these:
    assert refused.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


def test_a_runtime_that_stops_answers_what_is_open_and_leaves_no_port(tmp_path: Path, log: Path):
    with RuntimeDriver(tmp_path, {"app.py": APP.format(log=str(log))}, grpc_port=0, drain_timeout_s=0.2) as driver:
        driver.wait_reload(1)
        address = address_of(driver)
        channel = grpc.insecure_channel(address)
        stream = Client(channel).stream(request("count", JSON_LINES, last=1_000_000))
        next(stream)
        tree = driver.tree()
        driver.stop()
        failure = failure_of(lambda: list(stream))
        channel.close()

    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) != 0
    assert failure.code is grpc.StatusCode.INTERNAL
    assert tree
    assert wait_until(lambda: not [pid for pid in tree if Path(f"/proc/{pid}/cmdline").exists()])


@pytest.mark.parametrize("is_http_free", [True, False])
def test_a_port_in_use_ends_the_runtime_and_says_so_if_no_other_will_do(tmp_path: Path, log: Path, is_http_free: bool):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"grpc_port": port} if is_http_free else {"grpc_port": 0, "port": port}
        driver = RuntimeDriver(tmp_path, {"app.py": APP.format(log=str(log))}, port_is_fixed=True, **ports)
        with pytest.raises(AssertionError, match="GrpcPortInUse" if is_http_free else "'PortInUse'"):
            driver.start()
        driver._process.wait(10)

        assert driver._process.returncode == 1


@contextlib.contextmanager
def taken_port_below_a_free_one() -> Iterator[int]:
    while True:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            try:
                socket.create_server(("127.0.0.1", port + 1)).close()
            except (OSError, OverflowError):
                continue
            yield port
            return


def test_http_gives_way_to_the_port_that_grpc_was_asked_to_have(tmp_path: Path, log: Path):
    files = {"app.py": APP.format(log=str(log))}
    with (
        taken_port_below_a_free_one() as port,
        RuntimeDriver(tmp_path, files, port=port, grpc_port=port + 1) as driver,
    ):
        http_port = int(driver.address.rpartition(":")[2])

        assert address_of(driver) == f"127.0.0.1:{port + 1}"
        assert port + 1 < http_port <= port + 20
