"""One connection to a server, blocking, and the few that wait to be used again."""

from __future__ import annotations

import math
import select
import socket
import time
from collections import deque

from hotloop.gpu_runtime.user_env.client.address import Address
from hotloop.gpu_runtime.user_env.client.failure import ClientError
from hotloop.gpu_runtime.user_env.client.response import Malformed, ResponseReader

READ_BYTES = 256 * 1024
TIMEOUT_S = 120.0
MAX_IDLE = 16
MAX_IDLE_S = 60.0  # hotloop's servers close a connection that was idle for 75 s


class Connection:
    """A socket that requests are sent on, one after the other."""

    __slots__ = ("_address", "_give_up_at_s", "_timeout_s", "idle_since_s", "sock")

    def __init__(self, address: Address, sock: socket.socket) -> None:
        self._address = address
        self._timeout_s = 0.0
        self._give_up_at_s = 0.0
        self.sock = sock
        self.idle_since_s = 0.0

    @property
    def is_stale(self) -> bool:
        """Whether the other side closed it, or sent what nobody asked for."""
        quiet_s = time.monotonic() - self.idle_since_s
        if quiet_s > MAX_IDLE_S or quiet_s < 0:
            return quiet_s > 0
        return is_readable(self.sock)

    def close(self) -> None:
        """Close it."""
        self.sock.close()

    def set_deadline(self, give_up_at_s: float) -> None:
        """Change the moment after which nothing more is waited for."""
        self._give_up_at_s = give_up_at_s

    def send(self, data: bytes, timeout_s: float, give_up_at_s: float) -> ResponseReader:
        """Send a request, and give what reads its answer.

        Raises:
            ClientError: It could not be sent.
        """
        self._timeout_s, self._give_up_at_s = timeout_s, give_up_at_s
        try:
            self._allow_time()
            self.sock.sendall(data)
        except TimeoutError:
            raise timed_out(self._address, timeout_s) from None
        except OSError as error:
            raise lost(self._address, f"while the request was sent ({error})") from None
        return ResponseReader()

    def pieces(self, reader: ResponseReader) -> list[bytes]:
        """Wait for more of an answer, and give the pieces of its body in it.

        Raises:
            ClientError: It does not go on.
        """
        try:
            reader.check()
            self._allow_time()
            data = self.sock.recv(READ_BYTES)
            if data:
                return reader.feed(data)
            reader.end()
        except TimeoutError:
            raise timed_out(self._address, self._timeout_s) from None
        except OSError as error:
            raise lost(self._address, f"before the answer was complete ({error})") from None
        except Malformed as error:
            raise lost(self._address, f"by an answer that can't be read: {error}") from None
        return []

    def _allow_time(self) -> None:
        remaining_s = self._give_up_at_s - time.monotonic()
        if remaining_s <= 0:
            raise TimeoutError
        self.sock.settimeout(min(self._timeout_s, remaining_s))


def is_readable(sock: socket.socket) -> bool:
    """Whether something came, or the other side closed it."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


class Pool:
    """Connections to one server. Threads may share it: each has a connection for itself while it uses it.

    Args:
        address: The server.
        ready: A connection to begin with, which is not looked at before it is used.
    """

    def __init__(self, address: Address, ready: socket.socket | None = None) -> None:
        self.address = address
        self._is_closed = False
        # The one used last is taken first, so that those that are not needed grow old. A deque's ends are safe to use
        # from several threads.
        self._idle: deque[Connection] = deque()
        if ready is not None:
            connection = Connection(address, ready)
            connection.idle_since_s = math.inf
            self._idle.append(connection)

    def get(self, timeout_s: float, give_up_at_s: float) -> Connection:
        """Give a connection that waits, else a new one.

        Raises:
            ClientError: The server can't be reached.
        """
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was quicker
                break
            if not connection.is_stale:
                return connection
            connection.close()
        return Connection(self.address, connect(self.address, timeout_s, give_up_at_s))

    def open_one(self) -> None:
        """Connect ahead of the first request.

        Raises:
            ClientError: The server can't be reached.
        """
        self.put(Connection(self.address, connect(self.address, TIMEOUT_S, math.inf)))

    def put(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        if self._is_closed or len(self._idle) >= MAX_IDLE:
            connection.close()
            return
        connection.idle_since_s = time.monotonic()
        self._idle.append(connection)

    def close(self) -> None:
        """Close what waits; what is in use is closed when it is given back."""
        self._is_closed = True
        while self._idle:
            self._idle.pop().close()


def connect(address: Address, timeout_s: float, give_up_at_s: float) -> socket.socket:
    """Connect to a server, through its proxy if it has one.

    Raises:
        ClientError: It can't be reached.
    """
    remaining_s = min(timeout_s, give_up_at_s - time.monotonic())
    if remaining_s <= 0:
        raise unreachable(address, "no time was left")
    place = (address.host, address.port) if address.proxy is None else (address.proxy.host, address.proxy.port)
    try:
        sock = socket.create_connection(place, remaining_s)
    except OSError as error:
        raise unreachable(address, str(error)) from None
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _secured(address, sock) if address.is_tls else sock
    except OSError as error:  # ssl's errors are, too
        sock.close()
        raise unreachable(address, str(error)) from None
    except BaseException:
        sock.close()
        raise


def _secured(address: Address, sock: socket.socket) -> socket.socket:
    import ssl

    if address.proxy is not None:
        _tunnel(address, sock)
    return ssl.create_default_context().wrap_socket(sock, server_hostname=address.host)


def _tunnel(address: Address, sock: socket.socket) -> None:
    sock.sendall(tunnel_request(address))
    reader = ResponseReader()
    try:
        while not reader.has_head:
            data = sock.recv(1)  # what follows the head is TLS, and not the proxy's
            reader.feed(data) if data else reader.end()
    except Malformed as error:
        raise unreachable(address, f"its proxy's answer can't be read: {error}") from None
    check_tunnel(address, reader.status)


def tunnel_request(address: Address) -> bytes:
    """Ask a proxy for a connection to a server."""
    authority = f"{address.authority}:{address.port}" if address.port == 443 else address.authority
    lines = [f"CONNECT {authority} HTTP/1.1", f"host: {authority}"]
    if address.proxy is not None and address.proxy.authorization:
        lines.append(f"proxy-authorization: {address.proxy.authorization}")
    return "\r\n".join((*lines, "", "")).encode("latin-1")


def check_tunnel(address: Address, status: int) -> None:
    """Check what the proxy answered.

    Raises:
        ClientError: It refused.
    """
    if status != 200:
        raise unreachable(address, f"its proxy answered {status}")


def unreachable(address: Address, why: str) -> ClientError:
    """Say that there is no connection; nothing was sent."""
    way = f" through {address.proxy.host}:{address.proxy.port}" if address.proxy is not None else ""
    hint = "see that it runs and that the address is right; dev serve prints it"
    return ClientError(0, "Unreachable", f"{address.url} can't be reached{way}: {why}", hint=hint)


def lost(address: Address, when: str) -> ClientError:
    """Say that the connection was lost after something was sent."""
    return ClientError(0, "ConnectionLost", f"the connection to {address.url} was lost {when}", may_have_run=True)


def timed_out(address: Address, timeout_s: float) -> ClientError:
    """Say that an answer did not come in time."""
    hint = "the client's timeout_s= and deadline_s= are the limits"
    message = f"{address.url} said nothing within the time allowed (timeout {timeout_s:g} s, or the call's deadline)"
    return ClientError(0, "Timeout", message, hint=hint, may_have_run=True)
