# pyright: basic
"""The served ports on this machine, when what serves is on another: each connection is a call to the runner's agent.

Basic type checks: what protoc generates derives from untyped classes.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hotloop.devloop import ports
from hotloop.devloop.forwarded import Connection, Port
from hotloop.errors import RunnerError, UsageError
from hotloop.gpu_runtime.settings import PORTS_TO_TRY
from hotloop.remote_runner.calls import Call, open_call
from hotloop.remote_runner.channels import Channels
from hotloop.remote_runner.local import LocalWay
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.pump import BLOCK_BYTES, hurry, max_connections, reset

if TYPE_CHECKING:
    from hotloop.events import RuntimeStarted
    from hotloop.remote_runner.way import Way

BACKLOG = 1024
WAIT_S = 10.0  # a connection that is made while the runner is away waits for it so long
RETRY_S = 0.2


def forward_for(way: Way, project_id: str) -> Forward | None:
    """Make one for a session on another machine; None on this one, where the runtime listens itself."""
    return None if way.name == LocalWay.name else Forward(Channels(way), project_id)


class Forward:
    """Listens for the runtime of one session. Methods may be called from one event loop only."""

    def __init__(self, channels: Channels, project_id: str) -> None:
        self._channels = channels
        self._project_id = project_id
        self._ports: list[Port] = []
        self._is_linked = True
        self._served = asyncio.Event()
        self._room = asyncio.Semaphore(max_connections())
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, host: str, port: int, grpc_port: int | None, *, is_strict: bool) -> None:
        """Listen on the ports, or the next free ones.

        Args:
            host: On this machine.
            port: For HTTP, 0 for any.
            grpc_port: For gRPC, 0 for any; None for none.
            is_strict: A port in use is an error.

        Raises:
            RunnerError: None of them can be had; says who has it.
            UsageError: The host is no address of this machine.
        """
        if grpc_port is not None:  # first: HTTP's may give way to it
            self._listen(host, grpc_port, is_http=False, is_strict=is_strict)
        self._listen(host, port, is_http=True, is_strict=is_strict)

    def started(self, event: RuntimeStarted) -> RuntimeStarted:
        """Connect to a runtime from now on. Gives the event with the addresses that hold on this machine."""
        targets = {True: urlsplit(event.address).port or 0, False: _port_of(event.grpc_address)}
        for port in self._ports:
            port.target = targets[port.is_http]
        self._update()
        addresses = {port.is_http: port.address for port in self._ports}
        return dataclasses.replace(event, address=addresses[True], grpc_address=addresses.get(False, ""))

    def stopped(self) -> None:
        """The runtime does not listen any more; another may."""
        for port in self._ports:
            port.target = 0
        self._update()

    def link_changed(self, *, is_up: bool) -> None:
        """The session's connection to the runner was lost, or is there again."""
        if is_up and not self._is_linked:
            self._channels.renew()
        self._is_linked = is_up
        self._update()

    async def close(self) -> None:
        """Listen no more; what is under way ends with a reset."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for port in self._ports:
            port.listener.close()
        await self._channels.close()

    def _update(self) -> None:
        if self._is_linked and any(port.target for port in self._ports):
            self._served.set()
            self._spawn(self._warm_up())
        else:
            self._served.clear()

    async def _warm_up(self) -> None:
        """Connect the lane before the first client comes, who would wait for that."""
        with contextlib.suppress(RunnerError):  # clients will try again, and be told
            async with self._channels.channel(self._channels.bulk_lane):
                pass

    # --- listening

    def _listen(self, host: str, wanted: int, *, is_http: bool, is_strict: bool) -> None:
        last = wanted if is_strict or not wanted else min(wanted + PORTS_TO_TRY, 65535)
        for number in range(wanted, last + 1):
            try:
                listener = socket.create_server(
                    (host, number), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG
                )
            except OSError as error:
                if error.errno != errno.EADDRINUSE or number == last:
                    raise _cant_listen(host, wanted, error, "--port" if is_http else "--grpc-port") from error
            else:
                listener.setblocking(False)
                self._ports.append(port := Port(listener, host, listener.getsockname()[1], is_http))
                self._spawn(self._accept(port))
                return

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="forward")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _accept(self, port: Port) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._room.acquire()
            try:
                sock, _ = await loop.sock_accept(port.listener)
            except OSError:  # no descriptor is free: some connection will end
                self._room.release()
                await asyncio.sleep(RETRY_S)
                continue
            self._spawn(self._connection(port, sock)).add_done_callback(lambda _: self._room.release())

    # --- one connection

    async def _connection(self, port: Port, sock: socket.socket) -> None:
        sock.setblocking(False)
        hurry(sock)
        try:
            # Who speaks these protocols speaks first, so that the first bytes save a round trip.
            first = await asyncio.get_running_loop().sock_recv(sock, BLOCK_BYTES)
            await Connection(self._reach, self._project_id, port, sock, first).run()
        except OSError:  # this side's client broke it
            reset(sock)
        except BaseException:
            reset(sock)
            raise
        finally:
            sock.close()

    async def _reach(self, port: Port, stack: contextlib.AsyncExitStack) -> tuple[int, Call]:
        """Give the port's target on the runner and a call that goes there, as long as the stack; wait for both a while.

        Raises:
            RunnerError: There is none; says why.
        """
        runner = self._channels.runner
        why = f"The agent on {runner} does not answer."
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_S):
                while True:
                    await self._served.wait()
                    try:
                        lane = self._channels.bulk_lane
                        call = open_call(self._channels, lane, "Tunnel", pb.TunnelData, pb.TunnelData)
                        return port.target, await stack.enter_async_context(call)
                    except RunnerError as error:
                        why = error.message
                    await asyncio.sleep(RETRY_S)
        if not self._is_linked:
            why = f"The connection to {runner} is lost."
        elif not self._served.is_set():
            why = f"Nothing serves on {runner}: the runtime is not running."
        msg = f"{why} The request waited {WAIT_S:.0f} s and was not sent."
        raise RunnerError(msg)


def _port_of(address: str) -> int:
    port = address.rpartition(":")[2]
    return int(port) if port else 0


def _cant_listen(host: str, port: int, error: OSError, option: str) -> RunnerError | UsageError:
    if error.errno == errno.EADDRINUSE:
        who = ports.holder(port) or "another program"
        hint = f"choose another with {option}; without --strict-port the next free one is taken"
        return RunnerError(f"port {port} on {host} is in use by {who}", hint=hint)
    return UsageError(
        f"can't listen on {host}:{port}: {error.strerror or error}",
        hint=f"choose another address with --host and {option}",
    )
