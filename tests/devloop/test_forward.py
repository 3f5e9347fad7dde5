"""Served ports on this machine: real sockets, a real agent, a line that can be slow, dark or cut."""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.remote_runner.line import Line

from hotloop import events
from hotloop.devloop import forward as forwarding
from hotloop.devloop.forward import Forward
from hotloop.errors import RunnerError, UsageError
from hotloop.remote_runner import channels as channels_of_clients
from hotloop.remote_runner.calls import open_call
from hotloop.remote_runner.channels import Channels
from hotloop.remote_runner.client import connect
from hotloop.remote_runner.protocol import agent_pb2 as pb

pytestmark = pytest.mark.xdist_group("forward")  # one agent for all

FAKE_RUNTIME = (sys.executable, str(Path(__file__).parent.parent / "remote_runner" / "fake_runtime.py"), "{fd}")
PROJECT, OTHER = "abcdef0123", "0123abcdef"
DEADLINE_S = 20.0
BIG_BYTES = 64 << 20
BLOCK = os.urandom(1 << 16)


class World:
    """An event loop in a thread with an agent, a session, a forward and a TCP server that a test tells what to do."""

    def __init__(self, state):
        self.state = state
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.serve = None
        self.clients = []
        self.stack = contextlib.AsyncExitStack()
        self.run(self._open())

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, 50), self.loop).result(55)

    async def _open(self):
        arguments = ("--runtime-command", json.dumps(FAKE_RUNTIME))
        self.line = Line(self.state, num_lanes=2, agent_arguments=arguments)
        self.session = await self.stack.enter_async_context(connect(self.line))
        await self.session.open(self.state, PROJECT)
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        await self.session.start({"address": f"http://127.0.0.1:{self.port}"})
        self.started = await self._started()
        self.channels = Channels(self.line)
        self.forward = Forward(self.channels, PROJECT)
        self.forward.open("127.0.0.1", 0, None, is_strict=False)
        self.shown = self.forward.started(self.started)

    async def _started(self):
        async for _, event in self.session.events():
            if isinstance(event, events.RuntimeStarted):
                return event
        return None

    async def _serve(self, reader, writer):
        try:
            await self.serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def client(self):
        host, _, port = self.shown.address.removeprefix("http://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        self.clients.append(writer)
        return reader, writer

    async def leave(self):
        """Close what a test left open."""
        while self.clients:
            self.clients.pop().close()

    def close(self):
        async def end():
            await self.forward.close()
            self.server.close()
            await self.session.end()
            await self.stack.aclose()
            await asyncio.sleep(0.05)  # what was cancelled ends

        self.run(end())
        self.loop.call_soon_threadsafe(self.loop.stop)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    state = tmp_path_factory.mktemp("forward")
    made = World(state)
    yield made
    made.line.mend()
    made.close()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
        os.kill(int((state / "agent/pid").read_text()), signal.SIGKILL)


@pytest.fixture(autouse=True)
def calm(world):
    yield
    world.run(world.leave())
    world.line.delay_s = 0.0
    world.line.mend()
    world.loop.call_soon_threadsafe(lambda: world.forward.link_changed(is_up=True))
    world.loop.call_soon_threadsafe(lambda: world.forward.started(world.started))


async def until(is_true, what="it"):
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline_s, f"{what} did not happen"
        await asyncio.sleep(0.01)


SIZES = st.lists(st.integers(1, 300) | st.integers(1, 200_000), max_size=6)  # of chunks


def chunks_of(sizes):
    return [(BLOCK * (1 + size // len(BLOCK)))[:size] for size in sizes]


def frame(text, *, mask=b""):
    """A WebSocket frame of text, as a server or, masked, as a client sends it."""
    data = text.encode()
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data)) if mask else data
    return bytes([0x81, (0x80 if mask else 0) | len(data)]) + mask + masked


def test_a_websocket_stays_open_and_both_sides_speak_when_they_like(world):
    guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        key = head.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0].decode()
        accept = base64.b64encode(hashlib.sha1((key + guid).encode()).digest()).decode()
        answer = f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        writer.write(answer.encode() + frame("unasked"))
        for _ in range(3):
            _, size = await reader.readexactly(2)
            mask = await reader.readexactly(4)
            said = await reader.readexactly(size & 0x7F)
            writer.write(frame("echo " + bytes(byte ^ mask[i % 4] for i, byte in enumerate(said)).decode()))
        await reader.read()  # as long as the client stays

    async def main():
        world.serve = serve
        world.line.delay_s = 0.02
        reader, writer = await world.client()
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET /ws HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {key}"
            "\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        heard = [(await reader.readexactly(2 + len("unasked")))[2:]]
        for word in ("one", "two", "three"):
            writer.write(frame(word, mask=os.urandom(4)))
            heard.append((await reader.readexactly(2 + len("echo ") + len(word)))[2:])
        writer.close()
        return key, head.decode(), heard

    key, head, heard = world.run(main())

    assert base64.b64encode(hashlib.sha1((key + guid).encode()).digest()).decode() in head
    assert heard == [b"unasked", b"echo one", b"echo two", b"echo three"]


@settings(max_examples=60, deadline=None)
@given(up=SIZES, down=SIZES, first_to_end=st.sampled_from(["client", "server", "none"]))
def test_bytes_come_through_unchanged_whatever_the_chunks_and_whoever_ends_first(world, up, down, first_to_end):
    got_by_server = asyncio.Future(loop=world.loop)
    up, down = [b"begin", *chunks_of(up)], chunks_of(down)  # who speaks these protocols speaks first

    async def send(writer, chunks):
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()

    async def serve(reader, writer):
        reading = asyncio.create_task(reader.read())
        if first_to_end == "client":
            await asyncio.wait([reading])
        await send(writer, down)
        got_by_server.set_result(await reading)

    async def main():
        world.serve = serve
        reader, writer = await world.client()
        writer.write(up[0])
        reading = asyncio.create_task(reader.read())
        if first_to_end == "server":
            await asyncio.wait([reading])
        await send(writer, up[1:])
        got = await reading
        writer.close()
        return got, await got_by_server

    got, got_there = world.run(main())

    assert (got, got_there) == (b"".join(down), b"".join(up))


def rss_bytes(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("way", ["down", "up"])
def test_a_slow_reader_slows_its_sender_and_nothing_piles_up_between(world, way):
    agent = int((world.state / "agent/pid").read_text())
    sent = 0
    go_on = asyncio.Event()
    digest = asyncio.Future(loop=world.loop)

    async def send(writer):
        nonlocal sent
        for _ in range(BIG_BYTES // len(BLOCK)):
            writer.write(BLOCK)
            await writer.drain()
            sent += len(BLOCK)
        writer.write_eof()

    async def receive(reader):
        await go_on.wait()
        seen = hashlib.sha256()
        while data := await reader.read(1 << 16):
            seen.update(data)
        digest.set_result(seen.hexdigest())

    async def serve(reader, writer):
        await reader.readexactly(1)
        await (send(writer) if way == "down" else receive(reader))

    async def main():
        world.serve = serve
        before = rss_bytes(agent), rss_bytes(os.getpid())
        reader, writer = await world.client()
        writer.write(b"x")
        working = asyncio.create_task(receive(reader) if way == "down" else send(writer))
        stood_still = -1
        while stood_still != sent or not sent:  # until nothing more is taken
            stood_still = sent
            await asyncio.sleep(0.3)
        grown = rss_bytes(agent) - before[0], rss_bytes(os.getpid()) - before[1]

        other_reader, other_writer = await world.client()  # others are not held up by it
        world.serve = echo_line
        other_writer.write(b"beside\n")
        beside = await other_reader.readline()
        other_writer.close()

        go_on.set()
        result = await digest
        await working
        writer.close()
        return stood_still, grown, beside, result

    taken, grown, beside, result = world.run(main())

    assert taken < BIG_BYTES // 2
    assert max(grown) < 24 << 20
    assert beside == b"beside\n"
    assert result == hashlib.sha256(BLOCK * (BIG_BYTES // len(BLOCK))).hexdigest()


async def echo_line(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()


def test_many_connections_at_once(world):
    async def one(number):
        reader, writer = await world.client()
        for turn in range(3):
            writer.write(b"%d %d\n" % (number, turn))
            assert await reader.readline() == b"%d %d\n" % (number, turn)
            if not turn:
                arrived.add(number)
                await until(lambda: len(arrived) == 400, "400 connections at once")
        writer.close()

    async def main():
        world.serve = echo_line
        await asyncio.gather(*(one(number) for number in range(400)))

    arrived = set()
    world.run(main())


def test_a_reset_is_passed_on_both_ways(world):
    seen = asyncio.Future(loop=world.loop)

    async def serve(reader, writer):
        line = await reader.readline()
        if line == b"reset me\n":
            writer.write(b"part")
            await writer.drain()
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        else:
            try:
                await reader.read()
            except ConnectionResetError as error:
                seen.set_result(error)
                raise

    async def main():
        world.serve = serve
        reader, writer = await world.client()
        writer.write(b"reset me\n")
        assert await reader.readexactly(4) == b"part"
        with pytest.raises(ConnectionResetError):
            await reader.read()

        _, writer = await world.client()
        writer.write(b"wait\n")
        await writer.drain()
        await asyncio.sleep(0.2)  # until it is there
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        assert isinstance(await seen, ConnectionResetError)

    world.run(main())


def test_what_comes_a_piece_at_a_time_is_passed_on_at_once(world):
    go_on = asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n")
        await go_on.wait()
        writer.write(b"data: 2\n\n")

    async def main():
        world.serve = serve
        reader, writer = await world.client()
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        first = await reader.readuntil(b"data: 1\n\n")  # while the server waits
        go_on.set()
        rest = await reader.read()
        writer.close()
        return first[:15], rest

    assert world.run(main()) == (b"HTTP/1.1 200 OK", b"data: 2\n\n")


def test_a_cut_ends_open_connections_clearly_and_new_ones_work(world):
    async def main():
        world.serve = echo_line
        reader, writer = await world.client()
        writer.write(b"x\n")
        await reader.readline()
        world.line.cut()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        reader, writer = await world.client()
        writer.write(b"y\n")
        return await reader.readline()

    assert world.run(main()) == b"y\n"


async def answer_of(world, request=b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"):
    reader, writer = await world.client()
    writer.write(request)
    text = (await reader.read()).decode()
    writer.close()
    return text


def test_a_request_whose_answer_is_lost_is_told_that_it_may_have_run(world):
    arrived = asyncio.Event()

    async def serve(reader, writer):
        arrived.set()
        await reader.read()

    async def main():
        world.serve = serve
        asking = asyncio.create_task(answer_of(world))
        await arrived.wait()
        world.line.cut()
        return await asking

    text = world.run(main())

    assert text.startswith("HTTP/1.1 502 ")
    assert "The connection to line was lost. The request may have run." in text


@pytest.mark.parametrize("what", ["link", "runtime"])
def test_while_the_runner_is_away_a_request_waits_then_is_told_why(world, monkeypatch, what):
    async def main():
        world.serve = echo_line
        if what == "link":
            world.forward.link_changed(is_up=False)
        else:
            world.forward.stopped()
        monkeypatch.setattr(forwarding, "WAIT_S", 0.2)
        refused = await answer_of(world)
        monkeypatch.setattr(forwarding, "WAIT_S", 10.0)
        reader, writer = await world.client()
        writer.write(b"waits\n")
        await asyncio.sleep(0.1)
        world.forward.link_changed(is_up=True)
        world.forward.started(world.started)
        line = await reader.readline()
        writer.close()
        return refused, line

    refused, line = world.run(main())

    assert refused.startswith("HTTP/1.1 503 ")
    assert "retry-after: 1" in refused
    body = json.loads(refused.partition("\r\n\r\n")[2])
    assert body["error"]["type"] == "RunnerOffline"
    assert ("connection to line is lost" if what == "link" else "Nothing serves on line") in body["error"]["message"]
    assert line == b"waits\n"


def test_a_line_that_went_dark_is_not_used_again_when_the_session_is_back(world):
    async def main():
        world.serve = echo_line
        reader, writer = await world.client()
        writer.write(b"x\n")
        await reader.readline()
        dials = world.line.num_dials
        world.forward.link_changed(is_up=False)
        world.forward.link_changed(is_up=True)
        again_reader, again_writer = await world.client()
        again_writer.write(b"y\n")
        line = await again_reader.readline()
        writer.write(b"the old one goes on\n")
        old = await reader.readline()
        for each in (writer, again_writer):
            each.close()
        await until(lambda: len(world.channels._all) == 1, "the old channel's close")
        return world.line.num_dials - dials, line, old

    assert world.run(main()) == (1, b"y\n", b"the old one goes on\n")


def test_only_ports_that_the_sessions_own_runtime_serves_can_be_reached(world):
    async def ask(project, port):
        async with open_call(world.channels, 0, "Tunnel", pb.TunnelData, pb.TunnelData) as call:
            await call.write(pb.TunnelData(project_id=project, port=port, data=b"GET"))
            return (await call.read()).error

    async def main():
        other = await asyncio.start_server(echo_line, "127.0.0.1", 0)
        port = other.sockets[0].getsockname()[1]
        answers = [await ask(PROJECT, port), await ask(OTHER, world.port), await ask("../..", world.port)]
        other.close()
        return answers

    assert [("does not listen on port" in answer) for answer in world.run(main())] == [True] * 3


def test_a_runtime_that_is_gone_since_is_told_as_such(world):
    async def main():
        world.server.close()
        await world.server.wait_closed()
        try:
            return await answer_of(world)
        finally:
            world.server = await asyncio.start_server(world._serve, "127.0.0.1", world.port)

    text = world.run(main())

    assert text.startswith("HTTP/1.1 503 ")
    assert "can't be reached: Connection refused." in text


def test_a_port_in_use_gives_way_to_the_next_or_fails_with_its_holder(world):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            forward = Forward(Channels(world.line), PROJECT)
            try:
                with pytest.raises(RunnerError, match=rf"port {port} on 127.0.0.1 is in use by .*pid {os.getpid()}"):
                    forward.open("127.0.0.1", port, None, is_strict=True)
                forward.open("127.0.0.1", port, port, is_strict=False)
                shown = forward.started(events.RuntimeStarted(0, "http://127.0.0.1:1", 1, "", "127.0.0.1:2"))
            finally:
                await forward.close()
            with pytest.raises(UsageError, match=r"can.t listen on 203\.0\.113\.1"):
                forward.open("203.0.113.1", 0, None, is_strict=False)
            return port, shown.address, shown.grpc_address

    port, address, grpc_address = world.run(main())

    http_port, grpc_port = (int(each.rpartition(":")[2]) for each in (address, grpc_address))
    assert port < grpc_port < http_port <= port + 20


def test_more_connections_than_files_can_be_open_are_refused_and_end_in_order(world, monkeypatch):
    monkeypatch.setattr("hotloop.remote_runner.pump.MAX_CONNECTIONS", 2)

    async def main():
        world.serve = echo_line
        forward = Forward(Channels(world.line), PROJECT)
        forward.open("127.0.0.1", 0, None, is_strict=False)
        port = int(forward.started(world.started).address.rpartition(":")[2])
        ends = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for _, writer in ends:
            writer.write(b"x\n")
        lines = [await ends[0][0].readline(), await ends[1][0].readline()]
        third = asyncio.create_task(ends[2][0].readline())
        await asyncio.sleep(0.2)
        assert not third.done()  # it waits to be accepted
        ends[0][1].close()
        lines.append(await third)
        await forward.close()
        return lines

    assert world.run(main()) == [b"x\n"] * 3


def test_a_line_that_fell_silent_ends_its_connections(world, monkeypatch):
    seconds = {"grpc.keepalive_time_ms": 1_000, "grpc.keepalive_timeout_ms": 500, "grpc.http2.ping_timeout_ms": 500}
    options = tuple((name, seconds.get(name, value)) for name, value in channels_of_clients.OPTIONS)
    monkeypatch.setattr(channels_of_clients, "OPTIONS", options)

    async def main():
        world.serve = echo_line
        line = Line(world.state)
        forward = Forward(Channels(line), PROJECT)
        forward.open("127.0.0.1", 0, None, is_strict=False)
        port = int(forward.started(world.started).address.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"x\n")
        await reader.readline()
        line.darken()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await forward.close()
        line.mend()
        await line.close()

    world.run(main())
