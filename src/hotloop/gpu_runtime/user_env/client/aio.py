# pyright: basic
# The arguments and results are the user's.
"""`hotloop.AsyncClient`: calls endpoints by name, for asyncio."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from hotloop.gpu_runtime.user_env.client import connection, request, result
from hotloop.gpu_runtime.user_env.client.address import Address
from hotloop.gpu_runtime.user_env.client.calling import Called, Exchange, Heard, Options, Steps, calling_to
from hotloop.gpu_runtime.user_env.client.connection import MAX_IDLE, MAX_IDLE_S, READ_BYTES, TIMEOUT_S
from hotloop.gpu_runtime.user_env.client.failure import ClientError
from hotloop.gpu_runtime.user_env.client.response import Malformed, ResponseReader
from hotloop.gpu_runtime.user_env.client.retry import DEFAULT, Retries

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.app import App


class AsyncClient:
    """Calls the endpoints of a served app: ``await client.embed(text="a cat")``.

    It is `Client` for asyncio, with the same arguments; it belongs to the event loop that it is used in. A streaming
    endpoint gives an `AsyncStream`: ``async for item in await client.generate(prompt="x")``.
    """

    def __init__(
        self,
        url: str,
        *,
        app: App | None = None,
        timeout_s: float = TIMEOUT_S,
        deadline_s: float | None = None,
        retries: Retries | None = None,
        idempotent: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        lines = tuple(request.header(name, value) for name, value in (headers or {}).items())
        self._options = Options(timeout_s, deadline_s, retries or DEFAULT, idempotent, lines)
        self._calling = calling_to(url, app)
        self._pool = _Pool(self._calling.address)

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        self._calling.check_attribute(self, name)
        return lambda **arguments: self._call(name, arguments, self._options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._pool.address.url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
        idempotent: bool | None = None,
    ) -> Any:
        """Call an endpoint by its name, or by its path, with options of its own: see `Client.call`.

        Raises:
            ClientError: It gave no result.
            TypeError: An argument can't be sent.
        """
        options = self._options.changed(timeout_s=timeout_s, deadline_s=deadline_s, idempotent=idempotent)
        return await self._call(name, arguments or {}, options)

    async def close(self) -> None:
        """Close the connections that wait; streams that are read go on."""
        await self._pool.close()

    # --- inside -----------------------------------------------------------------------------------------------

    async def _call(self, name: str, arguments: Mapping[str, Any], options: Options) -> Any:
        called = await self._carried_out(self._calling.steps(name, arguments, options))
        heard = called.heard
        if heard.stream is not None:
            heard.stream.build(called.endpoint.build)
            return heard.stream
        return result.value_of(heard.headers.get("content-type", ""), heard.body, called.endpoint.build)

    async def _carried_out(self, steps: Steps) -> Called:
        move = partial(steps.send, None)
        while True:
            try:
                wanted = move()
            except StopIteration as done:
                return done.value
            if isinstance(wanted, Exchange):
                move = await self._tried(steps, wanted)
            else:
                await asyncio.sleep(wanted.pause_s)
                move = partial(steps.send, None)

    async def _tried(self, steps: Steps, wanted: Exchange) -> Callable[[], Any]:
        """Carry out an exchange; gives what goes on with its outcome."""
        try:
            return partial(steps.send, await self._exchange(wanted))
        except ClientError as error:
            return partial(steps.throw, error)

    async def _exchange(self, wanted: Exchange) -> Heard:
        channel = await self._pool.get(wanted.timeout_s, wanted.give_up_at_s)
        try:
            reader = await channel.send(wanted.data, wanted.timeout_s, wanted.give_up_at_s)
            pieces: list[bytes] = []
            while not reader.has_head:
                pieces += await channel.pieces(reader)
            if reader.is_stream and reader.status < 300:
                return Heard(reader.status, reader.headers, b"", AsyncStream(self._pool, channel, reader, pieces))
            while not reader.is_done:
                pieces += await channel.pieces(reader)
        except BaseException:
            channel.abort()
            raise
        self._pool.give_back(channel, reader)
        return Heard(reader.status, reader.headers, b"".join(pieces))


class AsyncStream(AsyncIterator[Any]):
    """The items of a streaming endpoint, as they come. Closing it early ends the generator on the server.

    Attributes:
        is_closed: Whether nothing more is read.
    """

    def __init__(self, pool: _Pool, channel: _Channel, reader: ResponseReader, pieces: list[bytes]) -> None:
        self.is_closed = False
        self._pool = pool
        self._channel = channel
        self._reader = reader
        self._pieces = pieces
        self._items = result.Items(reader.headers.get("content-type", ""))
        channel.give_up_at_s = math.inf

    def build(self, build: result.Build | None) -> None:
        """Have items built as the endpoint's annotation says."""
        self._items.build = build

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def __anext__(self) -> Any:
        while not self._items.has_next:
            if self.is_closed:
                raise StopAsyncIteration
            try:
                await self._read()
            except BaseException as error:  # noqa: BLE001  raised in its turn, behind the items that came before it
                self._close()
                self._items.fail(error)
        return self._items.take()

    async def aclose(self) -> None:
        """Read no more. A stream that was read to its end leaves its connection for the next call."""
        self._close()

    def _close(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        if self._reader.is_done:
            self._pool.give_back(self._channel, self._reader)
        else:
            self._channel.abort()

    async def _read(self) -> None:
        pieces, self._pieces = self._pieces, []
        if not pieces and not self._reader.is_done:
            pieces = await self._channel.pieces(self._reader)
        for piece in pieces:
            self._items.feed(piece)
        if self._reader.is_done:
            self._close()
            self._items.end()


class _Channel:
    """A connection that requests are sent on, one after the other."""

    def __init__(self, address: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._address = address
        self._reader = reader
        self._writer = writer
        self._timeout_s = 0.0
        self.give_up_at_s = 0.0
        self.idle_since_s = 0.0

    @property
    def is_stale(self) -> bool:
        if self._reader.at_eof() or self._writer.is_closing() or time.monotonic() - self.idle_since_s > MAX_IDLE_S:
            return True
        return connection.is_readable(self._writer.get_extra_info("socket"))  # the loop may not have had a turn since

    def abort(self) -> None:
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return  # closed by the other side: just as well

    async def send(self, data: bytes, timeout_s: float, give_up_at_s: float) -> ResponseReader:
        self._timeout_s, self.give_up_at_s = timeout_s, give_up_at_s
        try:
            async with asyncio.timeout(_time_left_s(timeout_s, give_up_at_s)):
                self._writer.write(data)
                await self._writer.drain()
        except TimeoutError:
            raise connection.timed_out(self._address, timeout_s) from None
        except OSError as error:
            raise connection.lost(self._address, f"while the request was sent ({error})") from None
        return ResponseReader()

    async def pieces(self, reader: ResponseReader) -> list[bytes]:
        try:
            reader.check()
            async with asyncio.timeout(_time_left_s(self._timeout_s, self.give_up_at_s)):
                data = await self._reader.read(READ_BYTES)
            if data:
                return reader.feed(data)
            reader.end()
        except TimeoutError:
            raise connection.timed_out(self._address, self._timeout_s) from None
        except OSError as error:
            raise connection.lost(self._address, f"before the answer was complete ({error})") from None
        except Malformed as error:
            raise connection.lost(self._address, f"by an answer that can't be read: {error}") from None
        return []


class _Pool:
    """Connections to one server."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._is_closed = False
        self._idle: list[_Channel] = []

    async def get(self, timeout_s: float, give_up_at_s: float) -> _Channel:
        while self._idle:
            channel = self._idle.pop()
            if not channel.is_stale:
                return channel
            channel.abort()
        try:
            async with asyncio.timeout(_time_left_s(timeout_s, give_up_at_s)):
                return _Channel(self.address, *await _connected(self.address))
        except TimeoutError:
            raise connection.unreachable(self.address, "no connection in the time allowed") from None
        except OSError as error:
            raise connection.unreachable(self.address, str(error)) from None

    def give_back(self, channel: _Channel, reader: ResponseReader) -> None:
        if self._is_closed or not reader.keeps_alive or len(self._idle) >= MAX_IDLE:
            channel.abort()
            return
        channel.idle_since_s = time.monotonic()
        self._idle.append(channel)

    async def close(self) -> None:
        self._is_closed = True
        idle, self._idle = self._idle, []
        for channel in idle:
            await channel.close()


def _time_left_s(timeout_s: float, give_up_at_s: float) -> float:
    return max(min(timeout_s, give_up_at_s - time.monotonic()), 0)


async def _connected(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    proxy = address.proxy
    if proxy is None:
        context = _tls(address)
        return await asyncio.open_connection(
            address.host, address.port, ssl=context, server_hostname=address.host if context else None
        )
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    if address.is_tls:
        await _tunnel(address, reader, writer)
    return reader, writer


async def _tunnel(address: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        writer.write(connection.tunnel_request(address))
        head = ResponseReader()
        head.feed(await reader.readuntil(b"\r\n\r\n"))
        connection.check_tunnel(address, head.status)
        await writer.start_tls(_tls(address), server_hostname=address.host)
    except (Malformed, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        writer.transport.abort()
        raise connection.unreachable(address, f"its proxy's answer can't be read: {error}") from None
    except BaseException:
        writer.transport.abort()
        raise


def _tls(address: Address) -> Any:
    if not address.is_tls:
        return None
    import ssl

    return ssl.create_default_context()
