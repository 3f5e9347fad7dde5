"""A session that does what it is told: its events reach the dashboard through the real broadcast and the real socket.

Run as a process: python -m benchmarks.tui_feed SOCKET. A line of stdin is a command: ``lines 1000`` writes so many at once,
``rate 1000`` so many a second from now on, ``rate 0`` none. Each is answered with how many lines there were until then.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hotloop import events
from hotloop.devloop import control
from hotloop.devloop.broadcast import Broadcast

if TYPE_CHECKING:
    from collections.abc import Iterator

TICK_S = 0.01
_PHASES = ("detect", "sync", "apply", "reload", "warmup", "first_output")
_LOG = "step batch={0} prefill={1} decode=9 kv={2}% q={3} {4:,} tok/s request {5:08d} done in 12.4 ms"


def facts() -> Iterator[events.Event]:
    """A session that came up and was edited twenty times."""
    now = time.monotonic
    yield events.SessionStarted(now(), "chat-demo", "/home/dev/chat", "gpu-01", "3.11.7", 41)
    yield events.RuntimeStarted(now(), "http://127.0.0.1:8000", 1234, "/venv/bin/python")
    shape = events.EndpointShape("chat", "/chat", ("POST",), (("prompt", "str"),), "str", True, True)
    model = events.ModelOutcome("llm", "kept", "resident", "fingerprint equal", 0.001, 14_200_000_000)
    for number in range(20):
        began_s = now()
        if number:
            yield events.IterationStarted(began_s, number, ("prompts.py",))
        yield events.Ready(now(), number, number + 1, now(), "standby", (model,), (shape,), ("refund",))
        report = events.ProbeReport("refund", True, False, '"within 14 days"', (), 0.02, 0.01, 0.02)
        yield events.ProbeReported(now(), number, number + 1, report)
        phases_s = dict.fromkeys(_PHASES, 0.02)
        yield events.IterationFinished(
            now(),
            events.Iteration(
                number, "ok", time.time(), False, number, number + 1, ("prompts.py",) * bool(number), 3100,
                sum(phases_s.values()), 0.1, phases_s, "standby", (model,), (report,),
            ),
        )  # fmt: skip
    yield events.StandbyReady(now())


class Session:
    """Writes lines as fast as it was told."""

    def __init__(self, broadcast: Broadcast) -> None:
        self.count = 0
        self._broadcast = broadcast
        self._rate = 0.0

    def write(self, count: int) -> None:
        """Write so many lines at once."""
        for _ in range(count):
            self.count += 1
            number = self.count
            text = _LOG.format(number % 16, number % 5, 40 + number % 50, number % 7, number * 7919 % 3000, number)
            self._broadcast(events.Log(time.monotonic(), 20, "stdout", text))

    async def run(self) -> None:
        """Write at the rate that was asked for."""
        began_s, written = time.monotonic(), 0
        rate = 0.0
        while True:
            if rate != self._rate:
                rate, began_s, written = self._rate, time.monotonic(), 0
            due = int((time.monotonic() - began_s) * rate) - written
            self.write(due)
            written += due
            await asyncio.sleep(TICK_S if rate else 0.1)

    async def obey(self) -> None:
        """Take commands until stdin ends."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            name, amount = line.decode().split()
            if name == "lines":
                self.write(int(amount))
            else:
                self._rate = float(amount)
            print(self.count, flush=True)


async def answer(_request: Any) -> dict[str, Any]:
    """Do nothing of what a dashboard asks; nothing older is kept."""
    return {"lines": [], "is_cut": False}


async def main(path: Path) -> None:
    """Be watched until stdin ends."""
    broadcast = Broadcast(answer)
    for event in facts():
        broadcast(event)
    session = Session(broadcast)
    async with control.listening(path, answer, broadcast.watch):
        print("listening", flush=True)
        writing = asyncio.create_task(session.run())
        await session.obey()
        writing.cancel()
        await broadcast.close()
        await asyncio.sleep(0.1)  # the dashboard is gone: its connection ends by itself


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
