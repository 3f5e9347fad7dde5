# pyright: basic
"""Run one command beside an app, wherever that is, as if it ran here: streams, signals, exit code.

Basic type checks: what protoc generates derives from untyped classes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from hotloop.errors import RunnerError
from hotloop.remote_runner.calls import Call, open_call
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.protocol import codec

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from hotloop.devloop.terminal import Terminal
    from hotloop.remote_runner.channels import Channels

BLOCK_BYTES = 32 << 10
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
SIGNALS_TO_LEAVE = 3  # a process may ignore Ctrl-C; whoever typed it so often wants to be rid of it


async def run(
    channels: Channels,
    project_id: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    terminal: Terminal | None,
) -> int:
    """Run a command with this process's streams.

    Args:
        channels: Of the runner.
        project_id: Whose workspace it runs in.
        arguments: The command; none for the user's shell.
        environment: Variables to give it.
        terminal: This process's own, to give it one too; None for pipes.

    Returns:
        Its exit code; 128 + N if signal N ended it.

    Raises:
        CallLostError: The connection was lost; the command was ended there.
        RunnerError: It can't be run.
    """
    async with open_call(channels, 0, "Process", pb.ProcessUp, pb.ProcessDown) as call:
        size = _size(terminal) if terminal is not None else None
        start = pb.ProcessStart(project_id=project_id, arguments=arguments, environment=environment, terminal=size)
        await call.write(pb.ProcessUp(start=start))
        with contextlib.ExitStack() as stack:
            if terminal is not None:
                stack.enter_context(terminal.raw())
            return await _Client(call, terminal).run()


class _Client:
    """This side of one command."""

    def __init__(self, call: Call, terminal: Terminal | None) -> None:
        self._call = call
        self._terminal = terminal
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._num_sent = self._num_taken = 0
        self._has_room = asyncio.Event()
        self._num_signals = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._left: asyncio.Future[int] = self._loop.create_future()

    async def run(self) -> int:
        threading.Thread(target=self._read_input, name="stdin", daemon=True).start()
        handled = self._watch_signals()
        answering = asyncio.create_task(self._answers())
        try:
            await asyncio.wait({answering, self._left}, return_when=asyncio.FIRST_COMPLETED)
            return self._left.result() if self._left.done() else answering.result()
        finally:
            for number in handled:
                self._loop.remove_signal_handler(number)
            for task in (answering, *self._tasks):
                task.cancel()
            await asyncio.gather(answering, *self._tasks, return_exceptions=True)

    # --- down

    async def _answers(self) -> int:
        while (message := await self._call.read()) is not None:
            match message.WhichOneof("body"):
                case "output":
                    await asyncio.to_thread(_write_all, 1, message.output)
                case "errors":
                    await asyncio.to_thread(_write_all, 2, message.errors)
                case "taken":
                    self._num_taken = message.taken
                    self._has_room.set()
                case "exit_code":
                    return message.exit_code if message.exit_code >= 0 else 128 - message.exit_code
                case "refused":
                    raise RunnerError(message.refused.message, hint=message.refused.hint)
                case _:
                    pass
        msg = "The agent ended before the command did."
        raise RunnerError(msg, hint="look at the agent's log on the runner")

    # --- up

    def _read_input(self) -> None:
        """Read in a thread: stdin may be a file, which can't be waited for, and must stay blocking for others."""
        with contextlib.suppress(RuntimeError):  # the command ended: nobody waits for more
            while data := _read_some():
                if not self._sent(partial(self._send_input, data)):
                    return
            self._sent(partial(self._send, pb.ProcessUp(end_of_input=True)))

    def _sent(self, send: Callable[[], Coroutine[Any, Any, bool]]) -> bool:
        """Send from the loop's thread. The coroutine is made there: one that a loop at its end never takes would warn."""
        done: Future[bool] = Future()

        async def sending() -> None:
            done.set_result(await send())

        self._loop.call_soon_threadsafe(lambda: self._spawn(sending()))
        return done.result()

    async def _send_input(self, data: bytes) -> bool:
        """Send input once the process took enough of what was sent before. Gives whether more is wanted."""
        while self._num_sent - self._num_taken + len(data) > codec.INPUT_WINDOW_BYTES:
            self._has_room.clear()
            await self._has_room.wait()
        self._num_sent += len(data)
        return await self._send(pb.ProcessUp(input=data))

    async def _send(self, message: Any) -> bool:
        try:
            async with self._lock:  # gRPC allows one write at a time
                await self._call.write(message)
        except RunnerError:  # the reader finds out as well, and says so
            return False
        return True

    # --- signals

    def _watch_signals(self) -> list[signal.Signals]:
        for number in PASSED_ON:
            self._loop.add_signal_handler(number, self._pass_on, number)
        if self._terminal is None:
            return [*PASSED_ON]
        self._loop.add_signal_handler(signal.SIGWINCH, self._resize)
        return [*PASSED_ON, signal.SIGWINCH]

    def _pass_on(self, number: signal.Signals) -> None:
        self._num_signals += 1
        if self._terminal is not None or self._num_signals >= SIGNALS_TO_LEAVE:
            if not self._left.done():  # of a terminal, keys come as bytes: a signal is for us, from outside
                self._left.set_result(128 + number)
            return
        self._spawn(self._send(pb.ProcessUp(signal=number)))

    def _resize(self) -> None:
        if self._terminal is not None:
            self._spawn(self._send(pb.ProcessUp(size=_size(self._terminal))))

    def _spawn(self, sending: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(sending)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _size(terminal: Terminal) -> pb.TerminalSize:
    rows, columns = terminal.size()
    return pb.TerminalSize(rows=rows, columns=columns)


def _read_some() -> bytes:
    try:
        return os.read(0, BLOCK_BYTES)
    except OSError:  # closed, or the terminal is gone
        return b""


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
