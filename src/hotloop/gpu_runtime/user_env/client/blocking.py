# pyright: basic
# The arguments and results are the user's.
"""`hotloop.Client`: calls endpoints by name, blocking."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from hotloop.gpu_runtime.user_env.client import request, result
from hotloop.gpu_runtime.user_env.client.calling import Called, Exchange, Heard, Options, Steps, calling_to
from hotloop.gpu_runtime.user_env.client.connection import TIMEOUT_S, Connection, Pool
from hotloop.gpu_runtime.user_env.client.failure import ClientError
from hotloop.gpu_runtime.user_env.client.retry import DEFAULT, Retries

if TYPE_CHECKING:
    from hotloop.gpu_runtime.user_env.app import App
    from hotloop.gpu_runtime.user_env.client.response import ResponseReader


class Client:
    """Calls the endpoints of a served app: ``client.embed(text="a cat")``.

    An endpoint's name is its function's. What the endpoint returns is what the call gives; a generator's items come as a
    `Stream`. Threads may share a client. Without ``app`` the server is asked, at the first call, what it serves, and
    endpoints are known by their paths.

    Args:
        url: The server, such as ``http://127.0.0.1:8000``.
        app: The app that is served: results are then built as the endpoints' annotations say.
        timeout_s: The longest silence of the server.
        deadline_s: How long a call may take in all. It is also sent, as ``x-hotloop-deadline-ms``: what the server
            can't begin in time it answers 504. A stream's items are not under it. None: no limit.
        retries: How often a call is sent again after 429, 503 or a connection that was refused.
        idempotent: Whether calls may run twice: then what may have run (502, a lost connection) is sent again, too.
        headers: For each request, such as ``{"authorization": "Bearer ..."}``.

    Raises:
        ValueError: The address, a limit or a header is none.
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
        self._pool = Pool(self._calling.address)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        self._calling.check_attribute(self, name)
        return lambda **arguments: self._call(name, arguments, self._options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._pool.address.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
        idempotent: bool | None = None,
    ) -> Any:
        """Call an endpoint by its name, or by its path, with options of its own.

        Args:
            name: Such as ``embed``, or ``/v1/embed``.
            arguments: By parameter.
            timeout_s: Instead of the client's own; so are the others.
            deadline_s: How long this call may take.
            idempotent: Whether this call may run twice.

        Raises:
            ClientError: It gave no result.
            TypeError: An argument can't be sent.
        """
        options = self._options.changed(timeout_s=timeout_s, deadline_s=deadline_s, idempotent=idempotent)
        return self._call(name, arguments or {}, options)

    def close(self) -> None:
        """Close the connections that wait; streams that are read go on."""
        self._pool.close()

    # --- inside -----------------------------------------------------------------------------------------------

    def _call(self, name: str, arguments: Mapping[str, Any], options: Options) -> Any:
        called = self._carried_out(name, arguments, options)
        heard = called.heard
        self._heard(heard)
        if heard.stream is not None:
            heard.stream.build(called.endpoint.build)
            return heard.stream
        return result.value_of(heard.headers.get("content-type", ""), heard.body, called.endpoint.build)

    def _heard(self, heard: Heard) -> None:
        """Take note of an answer; for who builds on this class."""

    def _carried_out(self, name: str, arguments: Mapping[str, Any], options: Options) -> Called:
        steps = self._calling.steps(name, arguments, options)
        move = partial(steps.send, None)
        while True:
            try:
                wanted = move()
            except StopIteration as done:
                return done.value
            if isinstance(wanted, Exchange):
                move = self._tried(steps, wanted)
            else:
                time.sleep(wanted.pause_s)
                move = partial(steps.send, None)

    def _tried(self, steps: Steps, wanted: Exchange) -> Callable[[], Any]:
        """Carry out an exchange; gives what goes on with its outcome."""
        try:
            return partial(steps.send, self._exchange(wanted))
        except ClientError as error:
            return partial(steps.throw, error)

    def _exchange(self, wanted: Exchange) -> Heard:
        connection = self._pool.get(wanted.timeout_s, wanted.give_up_at_s)
        try:
            reader = connection.send(wanted.data, wanted.timeout_s, wanted.give_up_at_s)
            pieces: list[bytes] = []
            while not reader.has_head:
                pieces += connection.pieces(reader)
            if reader.is_stream and reader.status < 300:
                return Heard(reader.status, reader.headers, b"", Stream(self._pool, connection, reader, pieces))
            while not reader.is_done:
                pieces += connection.pieces(reader)
        except BaseException:
            connection.close()
            raise
        _give_back(self._pool, connection, reader)
        return Heard(reader.status, reader.headers, pieces[0] if len(pieces) == 1 else b"".join(pieces))


class Stream(Iterator[Any]):
    """The items of a streaming endpoint, as they come. Closing it early ends the generator on the server.

    Attributes:
        is_closed: Whether nothing more is read.
    """

    def __init__(self, pool: Pool, connection: Connection, reader: ResponseReader, pieces: list[bytes]) -> None:
        self.is_closed = False
        self._pool = pool
        self._connection = connection
        self._reader = reader
        self._pieces = pieces
        self._items = result.Items(reader.headers.get("content-type", ""))
        connection.set_deadline(math.inf)

    def build(self, build: result.Build | None) -> None:
        """Have items built as the endpoint's annotation says."""
        self._items.build = build

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __next__(self) -> Any:
        while not self._items.has_next:
            if self.is_closed:
                raise StopIteration
            try:
                self._read()
            except BaseException as error:  # noqa: BLE001  raised in its turn, behind the items that came before it
                self.close()
                self._items.fail(error)
        return self._items.take()

    def close(self) -> None:
        """Read no more. A stream that was read to its end leaves its connection for the next call."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._reader.is_done:
            _give_back(self._pool, self._connection, self._reader)
        else:
            self._connection.close()

    def _read(self) -> None:
        pieces, self._pieces = self._pieces, []
        if not pieces and not self._reader.is_done:
            pieces = self._connection.pieces(self._reader)
        for piece in pieces:
            self._items.feed(piece)
        if self._reader.is_done:
            self.close()
            self._items.end()


def _give_back(pool: Pool, connection: Connection, reader: ResponseReader) -> None:
    if reader.keeps_alive:
        pool.put(connection)
    else:
        connection.close()
