# pyright: basic
"""Staying connected to an agent: a stream, and another one when it is lost or silent. Knows no changeset and no event.

gRPC's own keepalive is of no use here: a server ends the connection of a client that pings more often than every five
minutes. Basic type checks: grpc has no types, and what protoc generates derives from untyped classes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from typing import TYPE_CHECKING, Any, Protocol

from hotloop import clock
from hotloop.errors import DeniedError, HotloopError, RunnerError
from hotloop.remote_runner.heartbeat import HERE_IDLE_S, IDLE_S, Heartbeat
from hotloop.remote_runner.link_news import LinkNews
from hotloop.remote_runner.local import LocalWay
from hotloop.remote_runner.protocol import agent_pb2 as pb
from hotloop.remote_runner.stream import BROKEN, LostError, SessionTakenError, Stream

if TYPE_CHECKING:
    from hotloop.events import LinkMeasured
    from hotloop.remote_runner.way import Way

RETRY_S = (0.0, 0.05, 0.2, 0.5, 1.0, 1.0)  # between attempts that fail; the last one again and again
FIRST_ATTEMPTS = len(RETRY_S)
GREET_TIMEOUT_S = (2.0, 4.0, 8.0, 16.0, 30.0)  # for an agent's answer; it may be making the whole tree
DIAL_AGAIN_S = (1.0, 1.5, 2.2, 3.3, 5.0, 7.5, 10.0)  # an attempt that takes so long gets company
MAX_DIALS = 3
GOODBYE_TIMEOUT_S = 0.5


class Listener(Protocol):
    """Who is told what comes down the stream, and when it begins and ends."""

    @property
    def is_waiting(self) -> bool:
        """Whether something was sent that the agent has yet to answer."""
        ...

    def greeted(self, ok: pb.HelloOk) -> None:
        """A stream is up; what is sent from now on goes through it."""
        ...

    async def resume(self) -> None:
        """Do again what the agent may have forgotten. Cancelled when the stream ends."""
        ...

    def received(self, message: pb.Down) -> None:
        """A message came that is not the connection's own."""
        ...

    def lost(self) -> None:
        """The stream ended: what it had not answered is to be sent again, through another."""
        ...

    def went_offline(self, why: str) -> None:
        """The agent does not answer, or the stream ended; it is being dialed again. Told again for another reason."""
        ...

    def came_online(self, offline_s: float) -> None:
        """The agent answers again."""
        ...

    def measured(self, link: LinkMeasured) -> None:
        """The way to an agent on another machine is longer or shorter than was told, or nothing was told for a while."""
        ...

    def died(self, error: HotloopError) -> None:
        """There will be no other stream."""
        ...


class Connection:
    """Keeps a stream to the agent of a way. Methods may be called from one event loop only.

    Attributes:
        hello: What each stream begins with; its owner may change what it asks for.
        taken_event: The newest event that was taken in: a later client is not told of it again.
    """

    def __init__(self, way: Way, listener: Listener) -> None:
        self.hello = pb.Hello()
        self.taken_event = 0
        self._way = way
        self._listener = listener
        self._epochs = itertools.count(time.time_ns())
        self._stream: Stream | None = None
        self._connected = asyncio.Event()
        self._fatal: HotloopError | None = None
        self._is_closed = False
        self._task: asyncio.Task[None] | None = None
        is_here = way.name == LocalWay.name
        self._heart = Heartbeat(self.send, lambda: listener.is_waiting, idle_s=HERE_IDLE_S if is_here else IDLE_S)
        self._offline_since_s: float | None = None  # None: the agent answers, or there was no stream yet
        self._why_offline = ""
        self._is_greeting = False
        self._link_news = None if is_here else LinkNews()

    @property
    def fatal(self) -> HotloopError | None:
        """Why there will be no other stream, if so."""
        return self._fatal

    @property
    def away_s(self) -> float:
        """How long the agent has not answered, seconds; 0 while it does."""
        return 0.0 if self._offline_since_s is None else time.monotonic() - self._offline_since_s

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed

    async def open(self, hello: pb.Hello) -> None:
        """Connect, and stay so until `close`.

        Raises:
            SessionTakenError: Another client holds the session, or the agent is of another version and has sessions.
            RunnerError: The agent can't be reached.
        """
        self.hello = hello
        self._fatal = None
        self._connected.clear()
        self._task = asyncio.create_task(self._stay_connected(), name="agent session")
        await self.until_connected()

    async def close(self, *, is_over: bool = False) -> None:
        """Close the stream and try no other.

        Args:
            is_over: The session ended. Else the agent is told which events came, so that the next client is not.
        """
        if self._stream is not None and not (is_over or self._is_closed):
            with contextlib.suppress(LostError, RunnerError, TimeoutError):
                async with asyncio.timeout(GOODBYE_TIMEOUT_S):
                    await self.ping()
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._heart.stop(LostError())
        self._connected.set()  # whoever waits finds out

    async def ping(self) -> float:
        """Measure a round trip to the agent, seconds.

        Raises:
            LostError: The stream ended meanwhile.
        """
        await self.until_connected()
        return await self._heart.ping()

    def here(self, there_s: float) -> float:
        """Translate a time of the runner's CLOCK_MONOTONIC to this machine's."""
        return self._heart.offset.here(there_s, time.monotonic())

    @property
    def clock_offset_s(self) -> float:
        """The runner's CLOCK_MONOTONIC minus this machine's."""
        return self._heart.offset.offset_s(time.monotonic())

    @property
    def clock_error_s(self) -> float:
        """How far `here` may be off."""
        return self._heart.offset.error_s(time.monotonic())

    async def send(self, message: pb.Up) -> None:
        """Write one message.

        Raises:
            LostError: The stream ended.
        """
        stream = self._stream
        if stream is None:
            raise LostError
        if message.WhichOneof("body") == "ping":
            message.ping.last_event = self.taken_event
        else:
            self._heart.note_traffic()
        try:
            await stream.write(message)
        except LostError:
            if stream is self._stream:  # the reader has not found out yet: nobody is to try again before it has
                self._connected.clear()
            raise

    async def until_connected(self) -> None:
        """Wait for a stream.

        Raises:
            RunnerError: There will be none.
        """
        await self._connected.wait()
        if self._fatal is not None:
            raise self._fatal
        if self._is_closed:
            msg = "The session is closed."
            raise RunnerError(msg)

    # --- one stream after the other

    async def _stay_connected(self) -> None:
        try:
            stream = await self._reach(max_attempts=FIRST_ATTEMPTS)
            while True:
                stream = await self._hold(stream)
        except HotloopError as error:
            self._die(error)
        except Exception as error:
            self._die(RunnerError(f"The connection to the agent failed: {error!r}.", hint="please report it"))
            raise

    async def _hold(self, stream: Stream) -> Stream:
        """Use a stream until it ends, or until it is silent and another one answers. Gives the one to go on with."""
        self._begin(stream)
        reading = asyncio.create_task(self._read(stream), name="read the stream")
        helping = (
            asyncio.create_task(self._listener.resume(), name="resume"),
            asyncio.create_task(self._heart.beat(), name="heartbeat"),
        )
        other: Stream | None = None
        try:
            while other is None and await self._is_silent(reading):
                other = await self._hedge()
            if other is None:
                reading.result()  # what ends the session for good
        finally:
            try:
                await stream.close()  # first: what waits for it ends at once
            finally:
                await _cancel(reading, *helping)
                self._lose()
        return other or await self._reach()

    async def _is_silent(self, reading: asyncio.Task[None]) -> bool:
        """Wait until the stream is silent; False if it ends before."""
        silence = asyncio.create_task(self._heart.until_silent())
        try:
            await asyncio.wait({reading, silence}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel(silence)
        return not reading.done()

    async def _hedge(self) -> Stream | None:
        """Dial again while the silent stream is kept, and use what answers first; None if that is the old one."""
        self._go_offline()
        reaching = asyncio.create_task(self._reach(), name="dial again")
        hearing = asyncio.create_task(self._heart.until_heard())
        try:
            await asyncio.wait({reaching, hearing}, return_when=asyncio.FIRST_COMPLETED)
            if reaching.done() or self._is_greeting:  # once it was greeted, the agent lets go of the old stream
                return await reaching
        finally:
            await _cancel(hearing, reaching)
        self._come_online()
        return None

    async def _read(self, stream: Stream) -> None:
        with contextlib.suppress(LostError):
            while (message := await stream.read()) is not None:
                self._heart.note_heard()
                if message.WhichOneof("body") == "pong":
                    self._heart.take(message.pong)
                    self._tell_link()
                else:
                    self._heart.note_traffic()
                    self._listener.received(message)

    def _tell_link(self) -> None:
        news = self._link_news
        link = news.take(time.monotonic(), self._heart.round_trip_s, self._heart.offset) if news is not None else None
        if link is not None:
            self._listener.measured(link)

    async def _reach(self, *, max_attempts: int | None = None) -> Stream:
        """Dial until an agent answers. Before the first stream a network that fails is an error, later a pause.

        Raises:
            HotloopError: Trying again does not help.
        """
        for attempt in itertools.count():
            try:
                return await self._dial(attempt, is_first=max_attempts is not None)
            except RunnerError as error:
                if max_attempts is not None or isinstance(error, DeniedError | SessionTakenError):
                    raise
                self._go_offline(error.message)
            except (*BROKEN, LostError, TimeoutError):
                self._go_offline()
            if max_attempts is not None and attempt + 1 >= max_attempts:
                break
            await asyncio.sleep(_at(RETRY_S, attempt))
        msg = "The agent can't be reached."
        raise RunnerError(msg, hint="look at the agent's log, then start again")

    async def _dial(self, attempt: int, *, is_first: bool) -> Stream:
        stream = Stream(await (self._way.dial() if is_first else self._dial_hedged()))
        try:
            self._is_greeting = True
            self.hello.epoch = next(self._epochs)
            async with asyncio.timeout(None if is_first else _at(GREET_TIMEOUT_S, attempt)):
                await stream.greet(self.hello)
        except BaseException:
            await stream.close()
            raise
        finally:
            self._is_greeting = False
        return stream

    async def _dial_hedged(self) -> str:
        """Dial, and again while that takes long: what went into a dead network is repeated ever more rarely by itself."""
        dialing: list[asyncio.Task[str]] = []
        try:
            for number in itertools.count():
                if len(dialing) == MAX_DIALS:
                    await _cancel(dialing.pop(0))
                dialing.append(asyncio.create_task(self._way.dial(), name="dial"))
                if address := await _first_good(dialing, _at(DIAL_AGAIN_S, number)):
                    return address
        finally:
            await _cancel(*dialing)
        raise LostError

    def _begin(self, stream: Stream) -> None:
        self._heart.begin(stream.greeting, is_same_clock=stream.ok.boot_id == clock.boot_id())
        self._listener.greeted(stream.ok)
        self.hello.resumes, self.hello.take = True, False
        self._stream = stream
        self._connected.set()
        self._come_online()

    def _lose(self) -> None:
        self._connected.clear()
        self._stream = None
        self._heart.stop(LostError())
        self._listener.lost()
        if not self._is_closed:
            self._go_offline()

    def _die(self, error: HotloopError) -> None:
        self._fatal = error
        self._connected.set()  # whoever waits finds out
        self._listener.died(error)

    def _go_offline(self, why: str = "") -> None:
        if not self.hello.resumes:
            return
        if self._offline_since_s is None or (why and why != self._why_offline):
            self._offline_since_s = self._offline_since_s or time.monotonic()
            self._why_offline = why
            self._listener.went_offline(why)

    def _come_online(self) -> None:
        if self._offline_since_s is not None:
            offline_s, self._offline_since_s = time.monotonic() - self._offline_since_s, None
            self._why_offline = ""
            self._listener.came_online(offline_s)


async def _first_good(dialing: list[asyncio.Task[str]], timeout_s: float) -> str:
    """Give what the first good one gives; empty if none does in time. Those that fail are taken out.

    Raises:
        Exception: The error of the last one that failed, or of one that will not be let in.
    """
    until_s = time.monotonic() + timeout_s
    while (left_s := until_s - time.monotonic()) > 0:
        done, _ = await asyncio.wait(dialing, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        dialing[:] = [task for task in dialing if task not in done]
        for task in sorted(done, key=lambda task: task.exception() is not None):  # good ones first
            if not task.exception() or isinstance(task.exception(), DeniedError) or not dialing:
                return task.result()
    return ""


def _at(times_s: tuple[float, ...], attempt: int) -> float:
    return times_s[min(attempt, len(times_s) - 1)]


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
