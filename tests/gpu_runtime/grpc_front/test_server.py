"""The gRPC server: its port, its health, what it tells of itself, its end, and clients that no library would make."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from hotloop.gpu_runtime.endpoints import EndpointSpec
from hotloop.gpu_runtime.grpc_front import serving_pb2 as pb
from hotloop.gpu_runtime.grpc_front.server import MAX_CALLS_PER_CONNECTION, serve
from tests.gpu_runtime.front import run, until
from tests.gpu_runtime.grpc_front.calling import CALL, calling, failure_of

ECHO = EndpointSpec("echo", "/echo")
TOKENS = EndpointSpec("tokens", "/tokens", is_stream=True, kind="async")
State = health_pb2.HealthCheckResponse


def addresses_of_ipv6() -> list[str]:
    """Give the loopback's address, where the machine has IPv6."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return []
    return ["::1"]


IPV6 = addresses_of_ipv6()


async def quiet_server(host="127.0.0.1", port=0):
    return await serve(host, port, lambda exchange: exchange.respond(204), lambda: None)


# --- the port ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("holder", ["grpc", "another program"])
def test_a_port_in_use_is_not_shared(holder):
    async def main():
        if holder == "grpc":
            first = await quiet_server()
            port, close = first.port, first.close
        else:
            taken = socket.create_server(("127.0.0.1", 0))
            port, close = taken.getsockname()[1], lambda: asyncio.to_thread(taken.close)
        with pytest.raises(OSError) as caught:  # noqa: PT011  its number is what counts
            await quiet_server(port=port)
        await close()

        assert caught.value.errno == errno.EADDRINUSE

    run(main())


def test_no_other_server_can_have_some_of_the_calls():
    async def main():
        server = await quiet_server()
        other = grpc.aio.server()  # shares ports, unless the first to have one refuses
        with pytest.raises(RuntimeError):
            other.add_insecure_port(server.address)
        await other.stop(0)
        await server.close()

    run(main())


@pytest.mark.parametrize(
    ("host", "address", "reached"),
    [
        ("127.0.0.1", "127.0.0.1", ["127.0.0.1"]),
        ("localhost", "localhost", ["127.0.0.1"]),
        ("0.0.0.0", "0.0.0.0", ["127.0.0.1", *IPV6]),
        *[(each, f"[{each}]", [each]) for each in IPV6],
    ],
)
def test_it_listens_where_it_was_told_to(host, address, reached):
    async def main():
        server = await quiet_server(host)
        found = [each for each in ("127.0.0.1", *IPV6) if can_connect(each, server.port)]
        await server.close()

        assert server.address == f"{address}:{server.port}"
        assert found == reached

    run(main())


def can_connect(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 5).close()
    except OSError:
        return False
    return True


def test_an_address_of_another_machine_is_refused():
    async def main():
        with pytest.raises(OSError) as caught:  # noqa: PT011  its number is what counts
            await quiet_server("192.0.2.1")

        assert caught.value.errno == errno.EADDRNOTAVAIL

    run(main())


def test_a_port_is_free_again_once_the_server_is_closed():
    async def main():
        first = await quiet_server()
        await first.close()
        second = await quiet_server(port=first.port)
        address = second.address
        await second.close()

        assert address == f"127.0.0.1:{first.port}"
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", first.port)) == errno.ECONNREFUSED

    run(main())


# --- its end ----------------------------------------------------------------------------------------------------


def test_calls_that_wait_when_all_ends_are_answered():
    async def main():
        async with calling() as (front, client, server):
            worker = front.worker(1, ECHO, TOKENS)
            unknown = await failure_of(client.ask("nothing-yet"))  # beside the others, it might come after the stop
            running, stream = client.ask("echo"), client.listen("tokens")
            await until(lambda: len(worker.calls) == 2)
            front.dispatcher.stop()
            await asyncio.wait_for(server.close(timeout_s=5), 4)

            assert unknown.code is grpc.StatusCode.NOT_FOUND
            assert (await failure_of(running)).error["type"] == "WorkerLost"
            assert (await failure_of(stream.read())).code is grpc.StatusCode.INTERNAL

    run(main())


def test_a_call_that_does_not_end_is_cut_off_when_all_ends():
    async def main():
        async with calling() as (front, client, server):
            worker = front.worker(1, ECHO)
            asked = client.ask("echo")
            call = await worker.call()
            await server.close(timeout_s=0.1)
            failure = await failure_of(asked)
            await until(lambda: worker.cancelled)

            assert failure.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
            assert worker.cancelled == [call.header["id"]]

    run(main())


# --- health and reflection --------------------------------------------------------------------------------------


def health_of(channel):
    kinds = health_pb2.HealthCheckRequest.SerializeToString, State.FromString
    check = channel.unary_unary("/grpc.health.v1.Health/Check", *kinds)
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch", *kinds)
    return (
        lambda name="": check(health_pb2.HealthCheckRequest(service=name)),
        lambda name="": watch(health_pb2.HealthCheckRequest(service=name)),
    )


@pytest.mark.parametrize("name", ["", "hotloop.serving.v1.Endpoints"])
def test_health_is_whether_a_generation_serves(name):
    async def main():
        async with calling() as (front, client, _):
            check, _ = health_of(client.channel)
            before = (await check(name)).status
            front.worker(1, ECHO)
            after = (await check(name)).status
            front.dispatcher.lost(1, "SIGKILL")

            assert (before, after, (await check(name)).status) == (State.NOT_SERVING, State.SERVING, State.NOT_SERVING)

    run(main())


def test_health_of_a_service_that_is_not_there_is_not_found():
    async def main():
        async with calling() as (_, client, _):
            check, watch = health_of(client.channel)
            failure = await failure_of(check("search"))
            watched = await watch("search").read()

            assert failure.code is grpc.StatusCode.NOT_FOUND
            assert "'search'" in failure.text
            assert watched.status == State.SERVICE_UNKNOWN

    run(main())


def test_who_watches_is_told_of_each_change_and_of_the_end():
    async def main():
        async with calling() as (front, client, server):
            _, watch = health_of(client.channel)
            watched = watch()
            told = [(await watched.read()).status]
            front.worker(1, ECHO)
            told.append((await watched.read()).status)
            await asyncio.wait_for(server.close(timeout_s=5), 4)  # a watch does not hold it up
            told.append((await watched.read()).status)

            assert told == [State.NOT_SERVING, State.SERVING, State.NOT_SERVING]
            assert await watched.read() is grpc.aio.EOF

    run(main())


def test_a_client_without_the_proto_can_ask_for_it():
    async def main():
        async with calling() as (_, client, _):
            ask = client.channel.stream_stream(
                "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                reflection_pb2.ServerReflectionRequest.SerializeToString,
                reflection_pb2.ServerReflectionResponse.FromString,
            )()
            await ask.write(reflection_pb2.ServerReflectionRequest(list_services=""))
            listed = await ask.read()
            symbol = "hotloop.serving.v1.Endpoints"
            await ask.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol))
            described = await ask.read()
            await ask.done_writing()

            names = {service.name for service in listed.list_services_response.service}
            assert names >= {symbol, "grpc.health.v1.Health"}
            assert pb.DESCRIPTOR.serialized_pb in described.file_descriptor_response.file_descriptor_proto

    run(main())


# --- raw clients ------------------------------------------------------------------------------------------------

END_STREAM, END_HEADERS = 1, 4
DATA, HEADERS, SETTINGS = 0, 1, 4
MAX_CONCURRENT_STREAMS = 3


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def raw_call(message: bytes, *headers: tuple[bytes, bytes]) -> bytes:
    fields = [
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", CALL.encode()), (b":authority", b"test"),
        (b"content-type", b"application/grpc"), (b"te", b"trailers"), *headers,
    ]  # fmt: skip
    return b"".join((
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        frame(SETTINGS, 0, 0, b""),
        frame(HEADERS, END_HEADERS, 1, b"".join(literal(*field) for field in fields)),
        frame(DATA, END_STREAM, 1, b"\0" + struct.pack(">I", len(message)) + message),
    ))  # fmt: skip


async def raw_answer(port: int, sent: bytes) -> bytes:
    """Give the data of the first stream's answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    data = b""
    while True:
        head = await reader.readexactly(9)
        payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
        if int.from_bytes(head[5:], "big") == 1:
            data += payload if head[3] == DATA else b""
            if head[4] & END_STREAM and head[3] in {DATA, HEADERS}:
                break
    writer.close()
    return data


def test_a_client_is_told_how_many_calls_a_connection_takes():
    async def main():
        server = await quiet_server()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = await reader.readexactly(9)
        payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
        writer.close()
        await server.close()
        settings = dict(struct.iter_unpack(">HI", payload))

        assert head[3] == SETTINGS
        assert settings[MAX_CONCURRENT_STREAMS] == MAX_CALLS_PER_CONNECTION

    run(main())


@pytest.mark.parametrize("value", [b"\xff\xfe", "für Ada".encode(), b"plain"])
def test_metadata_that_is_no_ascii_does_no_harm_and_is_not_logged(value, caplog):
    async def main():
        async with calling(weights={"für Ada": 2.0}) as (front, client, server):
            front.worker(1, ECHO, is_echoing=True)
            message = pb.Request(endpoint="echo", body=b"hi").SerializeToString()
            data = await raw_answer(server.port, raw_call(message, (b"x-api-key", value), (b"x-other", value)))

            assert pb.Answer.FromString(data[5:]).body == b"hi"
            assert (await client.ask("echo", b"still here")).body == b"still here"

    run(main())
    assert caplog.records == []


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0" * 100,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
        raw_call(b"")[:-3],
        raw_call(b"x" * 50)[:60],
    ],
)
def test_a_connection_that_makes_no_sense_harms_nobody(sent):
    async def main():
        async with calling() as (front, client, server):
            worker = front.worker(1, ECHO, is_echoing=True)
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(sent)
            await writer.drain()
            answer = await client.ask("echo", b"hi")
            writer.close()

            assert answer.body == b"hi"
            assert len(worker.calls) == 1

    run(main())
