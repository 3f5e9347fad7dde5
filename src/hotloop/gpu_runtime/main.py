"""Run a runtime: ``python -m hotloop.gpu_runtime.main --control-fd N``. The agent starts it and talks to it by frames."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import uvloop

from hotloop import events
from hotloop.events import to_json
from hotloop.gpu_runtime.description import Description
from hotloop.gpu_runtime.dispatch import Dispatcher
from hotloop.gpu_runtime.fleet import become_subreaper
from hotloop.gpu_runtime.fronts import CannotListenError, Fronts, open_fronts
from hotloop.gpu_runtime.links import AsyncLink
from hotloop.gpu_runtime.metrics import Metrics, Reading
from hotloop.gpu_runtime.runtime import Runtime
from hotloop.gpu_runtime.settings import RuntimeConfig
from hotloop.gpu_runtime.surface import Surface
from hotloop.gpu_runtime.tracing import CannotTraceError, Tracing, is_wanted, start
from hotloop.gpu_runtime.user_env.wire import Message

STOP = Message({"kind": "stop"})


def main() -> None:
    """Serve until the agent says stop or is gone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--control-fd", type=int, required=True)
    control = socket.socket(fileno=parser.parse_args().control_fd)
    become_subreaper()
    sys.exit(uvloop.run(_run(control)))


async def _run(control: socket.socket) -> int:
    agent = _Agent()
    link = AsyncLink(control, agent.said, lambda: agent.said(None))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.said, STOP)
    first = await agent.first
    if first is None or first is STOP:
        return 0
    config = RuntimeConfig.from_json(first.header["config"])
    config.make_state_folder()
    emit = _emitter(link)
    loop.set_exception_handler(lambda loop, context: _report_own_error(emit, loop, context))
    dispatcher = Dispatcher(time.monotonic, emit, config.hold_timeout_s, weights=config.weights)
    description = Description()
    metrics = Metrics(lambda: _reading(dispatcher))
    tracing = _tracing(config, emit)
    dispatcher.observe(metrics, *([tracing] if tracing else []))
    surface = Surface(lambda: dispatcher.active, metrics.render, dispatcher.handle, description)
    try:
        fronts = await open_fronts(config, surface.handle, lambda: dispatcher.active, emit)
    except CannotListenError as error:
        emit(events.RuntimeStopped(time.monotonic(), error.problem))
        await asyncio.sleep(0)
        return 1
    ended = asyncio.Event()
    address = fronts.http.address
    runtime = Runtime(config, address, dispatcher, metrics, link.send, ended.set)
    runtime.on_documented = description.documented
    emit(events.RuntimeStarted(time.monotonic(), address, os.getpid(), config.python, fronts.grpc_address))
    runtime.start()

    to_stop, at_once = asyncio.Event(), asyncio.Event()

    def heard(message: Message | None) -> None:
        if message is not None and message.kind != STOP.kind:
            runtime.receive(message)
            return
        if message is None or to_stop.is_set():  # a lost agent's successor wants the port
            at_once.set()
        to_stop.set()

    agent.hear(heard)
    await to_stop.wait()
    if config.finishes_requests and dispatcher.active is not None:
        await _finish(fronts, dispatcher, emit, config.drain_timeout_s, at_once)
    runtime.stop()
    await ended.wait()
    await fronts.close()
    await runtime.sampler.close()
    if tracing is not None:
        await asyncio.to_thread(tracing.close)
    emit(events.RuntimeStopped(time.monotonic()))
    await asyncio.sleep(0)
    return 0


async def _finish(fronts: Fronts, dispatcher: Dispatcher, emit: Any, timeout_s: float, at_once: asyncio.Event) -> None:
    """Let what is under way be answered: for so long, or until it is to end at once."""
    fronts.http.stop_listening()  # before it is said; gRPC's port closes a moment later, by a thread of its own
    tasks = [asyncio.create_task(fronts.finish(timeout_s)), asyncio.create_task(at_once.wait())]
    num_open = sum(load.num_waiting + load.num_running for load in dispatcher.load())
    if num_open:
        requests = "1 request" if num_open == 1 else f"{num_open} requests"
        emit(events.Notice(time.monotonic(), "finishing", f"finishing {requests}, for {timeout_s:g} s at most"))
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


class _Agent:
    """What the agent says: the first frame is waited for, the others are taken in as they come.

    Each save's frames would otherwise wait for a turn of the loop and for a task.
    """

    def __init__(self) -> None:
        self.first: asyncio.Future[Message | None] = asyncio.get_running_loop().create_future()
        self._waiting: list[Message | None] = []
        self._hear: Callable[[Message | None], None] = self._waiting.append

    def said(self, message: Message | None) -> None:
        """It said this; None: to stop, or it is gone."""
        if not self.first.done():
            self.first.set_result(message)
        else:
            self._hear(message)

    def hear(self, hear: Callable[[Message | None], None]) -> None:
        """Have this called with all that it said since the first frame, and says from now on."""
        self._hear = hear
        for message in self._waiting:
            hear(message)
        self._waiting.clear()


def _report_own_error(emit: Any, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say that something went wrong in hotloop itself; the details go to the agent's log."""
    loop.default_exception_handler(context)
    error = context.get("exception")
    text = (
        f"hotloop itself failed: {type(error).__name__}: {error}" if error else f"hotloop itself: {context['message']}"
    )
    emit(events.Notice(time.monotonic(), f"own error {text}", text, "report it with the agent's log"))


def _emitter(link: AsyncLink) -> Any:
    def emit(event: events.Event) -> None:
        link.send({"kind": "event", "event": to_json(event)})

    return emit


def _tracing(config: RuntimeConfig, emit: Any) -> Tracing | None:
    """Begin to trace if the app's environment asks for it; what is wrong with that is a notice."""
    if not is_wanted(config.environment):
        return None
    try:
        return start(config.environment, f"hotloop {config.entry}")
    except CannotTraceError as error:
        emit(events.Notice(time.monotonic(), "tracing", error.message, error.hint))
        return None


def _reading(dispatcher: Dispatcher) -> Reading:
    active = dispatcher.active
    if active is None:
        return Reading(held=dispatcher.num_waiting)
    return Reading(tuple(dispatcher.load()), 0, active.number, active.revision, len(active.workers))


if __name__ == "__main__":
    main()
