# pyright: basic
# asyncio is imported only for an app that has an async endpoint.
"""A worker's serving loop: reads the link, hands calls to the caller, knows what was cancelled.

Without async endpoints it is a plain blocking loop, and asyncio is never imported. With them an event loop reads the
link; sync endpoints then run inside it, one at a time, as they would in the plain loop.
"""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from hotloop.gpu_runtime.user_env.items import items
from hotloop.gpu_runtime.user_env.staging import KINDS, Staging
from hotloop.gpu_runtime.user_env.wire import Link, LinkClosed, Message

if TYPE_CHECKING:
    import asyncio

    from hotloop.gpu_runtime.user_env.call import Caller

LONG_S = 0.001  # a call after which it is looked who has gone, before one that was sent with it begins

OnControl = Callable[[Message], bool]


def serve(link: Link, caller: Caller, on_control: OnControl) -> None:
    """Answer calls until told to stop, or until the other side is gone.

    Args:
        link: Where calls come from. Nothing else may read it meanwhile.
        caller: Runs them.
        on_control: Gets every frame that is neither a call nor a cancellation; returns False to stop. It runs
            between calls, on this thread.
    """
    inbox = _Inbox(link)
    caller.before_answer = partial(inbox.take_ahead, caller.staging)
    try:
        if caller.needs_loop:
            import asyncio

            asyncio.run(_Loop(inbox, caller, on_control).run())
        else:
            _serve_plainly(inbox, caller, on_control)
    except LinkClosed:
        return
    finally:
        caller.close()


def _serve_plainly(inbox: _Inbox, caller: Caller, on_control: OnControl) -> None:
    # No variable here may hold a message: its payload is on loan until nothing holds it.
    while _goes_on(inbox, caller, on_control, inbox.take()):
        pass
    if caller.is_broken:
        inbox.link.send({"kind": "leaving", "begun": []})


def _goes_on(inbox: _Inbox, caller: Caller, on_control: OnControl, message: Message) -> bool:
    if message.kind == "call":
        inbox.run(caller, message)
        return not caller.is_broken
    if message.kind in KINDS:
        caller.staging.take_in(message)
    else:
        return on_control(message)
    return True


class _Inbox:
    """What came and was not dealt with. Cancellations are taken out of it at once, for they are about the rest.

    Attributes:
        left: The requests whose clients went, of calls that wait or run for others as well.
        on_cancel: Hears of a cancelled call that neither waits nor runs here: it is done, or a task of the loop's.
        is_task: Says which of the two it is.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self._waiting: deque[Message] = deque()
        self._running = 0
        self._has_run_long = False
        self._cancelled: set[int] = set()
        self.left: set[int] = set()
        self._poll = select.poll()  # select() refuses descriptors above 1023
        self._poll.register(link.fileno(), select.POLLIN)
        self.on_cancel: Callable[[int], object] = lambda _: None
        self.is_task: Callable[[int], bool] = lambda _: False

    @property
    def is_empty(self) -> bool:
        return not self._waiting

    def take(self) -> Message:
        """Give the next message, waiting for it."""
        while not self._waiting:
            self._sort([self.link.receive()])
        return self._waiting.popleft()

    def read(self) -> bool:
        """Read once what has come; whether anything had: what a loop saw there may have been taken meanwhile."""
        has_come = bool(self._poll.poll(0))
        if has_come:
            self._sort(self.link.receive_some())
        return has_come

    def run(self, caller: Caller, message: Message) -> bool:
        """Run a call of a sync endpoint, unless its client is gone already; whether it took long."""
        self._running = call_id = message.header["id"]
        if self._has_run_long:
            self.is_cancelled(call_id)
        began_s = time.perf_counter()
        try:
            if call_id in self._cancelled:
                caller.refuse(message)
            else:
                caller.handle(message, self)
        finally:
            self._running = 0
            self.forget(message)
        self._has_run_long = time.perf_counter() - began_s > LONG_S
        return self._has_run_long

    def forget(self, message: Message) -> None:
        """Take note that a call is done."""
        self._cancelled.discard(message.header["id"])
        if self.left:
            self.left.difference_update([item["id"] for item in items(message.header)])

    def is_cancelled(self, call_id: int) -> bool:
        """Whether all clients of a call are gone; looks at the link."""
        self._read_all()
        return call_id in self._cancelled

    def take_ready(self) -> None:
        """Take what the link has read already; the socket does not show it any more."""
        while self.link.has_message:
            self._sort([self.link.receive()])

    def take_ahead(self, staging: Staging) -> None:
        """Take in what came ahead of its call while another ran: the front hears of its sizes before the result."""
        if not staging.is_used:
            return
        self._read_all()
        ahead = [message for message in self._waiting if message.kind in KINDS]
        self._waiting = deque(message for message in self._waiting if message.kind not in KINDS)
        for message in ahead:
            staging.take_in(message)

    def _read_all(self) -> None:
        self.take_ready()
        while self.read():
            pass

    def was_cancelled(self, call_id: int) -> bool:
        """Whether a call that has not begun was cancelled."""
        return call_id in self._cancelled

    def _sort(self, messages: list[Message]) -> None:
        for message in messages:
            if message.kind != "cancel":
                self._waiting.append(message)
                continue
            call_id, item_id = message.header["id"], message.header.get("item")
            waits = any(m.kind == "call" and m.header["id"] == call_id for m in self._waiting)
            is_here = waits or call_id == self._running
            if item_id is not None:
                if is_here or self.is_task(call_id):
                    self.left.add(item_id)
            elif is_here:
                self._cancelled.add(call_id)
            else:
                self.on_cancel(call_id)


class _Loop:
    """The serving loop of an app with async endpoints."""

    def __init__(self, inbox: _Inbox, caller: Caller, on_control: OnControl) -> None:
        self._inbox = inbox
        self._caller = caller
        self._on_control = on_control
        self._tasks: dict[int, asyncio.Task[None]] = {}
        inbox.on_cancel = self._cancel
        inbox.is_task = self._tasks.__contains__

    async def run(self) -> None:
        """Serve until stopped; what still runs then is cancelled."""
        import asyncio

        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._inbox.link.fileno(), self._read, done)
        try:
            self._inbox.take_ready()
            self._dispatch(done)
            await done
        finally:
            loop.remove_reader(self._inbox.link.fileno())
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _read(self, done: asyncio.Future[Any]) -> None:
        self._go_on(done, self._inbox.read)

    def _go_on(self, done: asyncio.Future[Any], read: Callable[[], object] = lambda: None) -> None:
        try:
            read()
            self._dispatch(done)
        except BaseException as error:  # noqa: BLE001 - carried to `run`, which raises it
            if not done.done():
                done.set_exception(error)

    def _dispatch(self, done: asyncio.Future[Any]) -> None:
        import asyncio

        while not self._inbox.is_empty and not done.done():
            message = self._inbox.take()
            if message.kind in KINDS:
                self._caller.staging.take_in(message)
            elif message.kind != "call":
                if not self._on_control(message):
                    done.set_result(None)
            elif not self._caller.is_async(message):
                is_long = self._run_sync(message)
                self._end_if_broken(done)
                if is_long and not self._inbox.is_empty:  # the tasks have a turn before a call that was sent with it
                    asyncio.get_running_loop().call_soon(self._go_on, done)
                    return
            else:
                self._start(message, done)

    def _run_sync(self, message: Message) -> bool:
        """Run a call of a sync endpoint as without a loop: it may run one of its own, with `asyncio.run`."""
        import asyncio

        loop = asyncio.get_running_loop()
        asyncio._set_running_loop(None)  # noqa: SLF001  it has no other way, and this one stands still meanwhile
        try:
            return self._inbox.run(self._caller, message)
        finally:
            asyncio._set_running_loop(loop)  # noqa: SLF001

    def _start(self, message: Message, done: asyncio.Future[Any]) -> None:
        import asyncio

        call_id = message.header["id"]
        if self._inbox.was_cancelled(call_id):
            self._caller.refuse(message)
            self._inbox.forget(message)
            return
        task = asyncio.get_running_loop().create_task(self._caller.handle_async(message, self._inbox))
        self._tasks[call_id] = task
        task.add_done_callback(lambda task: self._finished(message, task, done))

    def _finished(self, message: Message, task: asyncio.Task[None], done: asyncio.Future[Any]) -> None:
        self._tasks.pop(message.header["id"], None)
        self._inbox.forget(message)
        # One that was cancelled before its first step had no chance to answer.
        self._end_if_broken(done)
        error = self._refuse(message) if task.cancelled() else task.exception()
        if error is not None and not done.done():  # the link is gone, or we are wrong: not the user's error
            done.set_exception(error)

    def _end_if_broken(self, done: asyncio.Future[Any]) -> None:
        if self._caller.is_broken and not done.done():
            self._inbox.link.send({"kind": "leaving", "begun": list(self._tasks)})
            self._caller.leave()
            done.set_result(None)

    def _refuse(self, message: Message) -> LinkClosed | None:
        try:
            self._caller.refuse(message)
        except LinkClosed as error:
            return error
        return None

    def _cancel(self, call_id: int) -> None:
        task = self._tasks.get(call_id)
        if task is not None:
            task.cancel()
