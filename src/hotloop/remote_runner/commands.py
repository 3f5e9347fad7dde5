# pyright: basic
"""The commands that clients run beside their apps, each as long as its client stays. Basic: grpc has no types."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from typing import TYPE_CHECKING, Any

import grpc

from hotloop.errors import HotloopError
from hotloop.remote_runner import descriptors, processes, spawning
from hotloop.remote_runner.lingering import LINGER_S, until_left
from hotloop.remote_runner.places import PROJECT_ID, workspace_folder
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.protocol import codec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hotloop.remote_runner.spawning import Spawned

DRAIN_TIMEOUT_S = 2.0  # a process that left the session may hold its output open for ever
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as shells say it


class Commands:
    """All that run on this runner."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._running: dict[int, Spawned] = {}
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def pids(self) -> frozenset[int]:
        """Their processes, each the leader of a session."""
        return frozenset(self._running)

    def handler(self) -> Any:
        """Make the handler of `Process`."""
        return grpc.stream_stream_rpc_method_handler(
            self._serve,
            request_deserializer=pb.ProcessUp.FromString,
            response_serializer=pb.ProcessDown.SerializeToString,
        )

    async def close(self) -> None:
        """End them all."""
        for spawned in self._running.values():
            self._end(spawned)
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _serve(self, _: Any, context: Any) -> None:
        first = await context.read()
        if not isinstance(first, pb.ProcessUp) or first.WhichOneof("body") != "start":
            return
        try:
            spawned = self._spawn(first.start)
        except HotloopError as error:
            await context.write(pb.ProcessDown(refused=pb.Refused(message=error.message, hint=error.hint)))
            await until_left(context)
        except OSError as error:
            said = f"hotloop: {first.start.arguments[0]}: {error.strerror}\n"
            await context.write(pb.ProcessDown(errors=said.encode()))
            code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
            await context.write(pb.ProcessDown(exit_code=code))
            await until_left(context)
        else:
            await self._attend(spawned, context)

    def _spawn(self, start: pb.ProcessStart) -> Spawned:
        if not PROJECT_ID.fullmatch(start.project_id):
            msg = f"Project id {start.project_id!r} is not 8 to 64 hexadecimal digits."
            raise HotloopError(msg)
        size = _size(start.terminal) if start.HasField("terminal") else None
        folder = workspace_folder(self._state, start.project_id)
        spawned = spawning.spawn(folder, start.arguments, start.environment, size)
        self._running[spawned.process.pid] = spawned
        return spawned

    async def _attend(self, spawned: Spawned, context: Any) -> None:
        """Stay with a process until it ends or its client is gone: then it ends too, with all that it started."""
        running = _Running(spawned, context)
        try:
            await running.run()
        finally:
            running.close()
            self._end(spawned)

    def _end(self, spawned: Spawned) -> None:
        process = spawned.process

        async def end() -> None:
            await processes.end_command(process.pid, spawned.mark)
            process.poll()  # takes its exit status, if nobody did
            self._running.pop(process.pid, None)

        task = asyncio.create_task(end(), name=f"end command {process.pid}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class _Running:
    """One process and its client."""

    def __init__(self, spawned: Spawned, context: Any) -> None:
        self._spawned = spawned
        self._context = context
        self._open = {fd for fd in (spawned.stdin, spawned.stdout, spawned.stderr) if fd is not None}
        self._lock = asyncio.Lock()
        self._input: deque[bytes | None] = deque()
        self._input_came = asyncio.Event()
        self._num_waiting_bytes = 0

    async def run(self) -> None:
        outputs = [
            asyncio.create_task(self._pass_on(fd, make))
            for fd, make in ((self._spawned.stdout, _output), (self._spawned.stderr, _errors))
            if fd is not None
        ]
        beside = [asyncio.create_task(self._take()), asyncio.create_task(self._feed())]
        exiting = asyncio.create_task(processes.wait_for_exit(self._spawned.process))
        try:
            await asyncio.wait({exiting, beside[0]}, return_when=asyncio.FIRST_COMPLETED)
            if not exiting.done():  # the client is gone
                return
            await processes.end_command(self._spawned.process.pid, self._spawned.mark)
            await asyncio.wait(outputs, timeout=DRAIN_TIMEOUT_S)
            await self._write(pb.ProcessDown(exit_code=exiting.result()))
            await asyncio.wait({beside[0]}, timeout=LINGER_S)
        finally:
            tasks: list[asyncio.Task[Any]] = [*outputs, *beside, exiting]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """Let go of its streams; one with a terminal is told that it went away."""
        for fd in list(self._open):
            self._close(fd)

    def _close(self, fd: int) -> None:
        if fd in self._open:
            self._open.discard(fd)
            os.close(fd)

    async def _write(self, message: pb.ProcessDown) -> None:
        async with self._lock:  # gRPC allows one write at a time
            await self._context.write(message)

    async def _pass_on(self, fd: int, make: Callable[[bytes], pb.ProcessDown]) -> None:
        while data := await descriptors.read(fd):
            await self._write(make(data))

    async def _take(self) -> None:
        """Take what the client sends, until it is gone. Never waits for the process: a signal is not held up by input."""
        while isinstance(message := await self._context.read(), pb.ProcessUp):
            match message.WhichOneof("body"):
                case "input":
                    self._num_waiting_bytes += len(message.input)
                    if self._num_waiting_bytes > 2 * codec.INPUT_WINDOW_BYTES:
                        return
                    self._put(message.input)
                case "end_of_input":
                    self._put(None)
                case "size" if self._spawned.has_terminal:
                    spawning.resize(self._spawned.stdin, _size(message.size))
                case "signal":
                    self._signal(message.signal)
                case _:
                    pass

    def _put(self, data: bytes | None) -> None:
        self._input.append(data)
        self._input_came.set()

    async def _feed(self) -> None:
        num_taken = 0
        while True:
            while not self._input:
                self._input_came.clear()
                await self._input_came.wait()
            data = self._input.popleft()
            if data is None:
                self._end_input()
                return
            with contextlib.suppress(OSError):  # it does not read any more; what it is sent is lost, as in a pipe
                await descriptors.write(self._spawned.stdin, data)
            num_taken += len(data)
            self._num_waiting_bytes -= len(data)
            await self._write(pb.ProcessDown(taken=num_taken))

    def _end_input(self) -> None:
        if not self._spawned.has_terminal:
            self._close(self._spawned.stdin)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError, ValueError):
            os.killpg(self._spawned.process.pid, signal.Signals(number))


def _output(data: bytes) -> pb.ProcessDown:
    return pb.ProcessDown(output=data)


def _errors(data: bytes) -> pb.ProcessDown:
    return pb.ProcessDown(errors=data)


def _size(message: pb.TerminalSize) -> spawning.Size:
    return spawning.Size(min(message.rows, 0xFFFF), min(message.columns, 0xFFFF))
