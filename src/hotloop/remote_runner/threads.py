"""Work that blocks, beside an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


def in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Begin what blocks in a thread that nobody waits for when this process ends."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def post(tell: Callable[[Any], None], value: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is over
            loop.call_soon_threadsafe(lambda: done.done() or tell(value))

    def run() -> None:
        try:
            value = work()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            post(done.set_exception, error)
        else:
            post(done.set_result, value)

    threading.Thread(target=run, name="work", daemon=True).start()
    return done


async def finished(work: Coroutine[Any, Any, T]) -> T:
    """Do work to its end, also if whoever wants it is cancelled meanwhile: a thread of it goes on in any case.

    Raises:
        CancelledError: The caller was cancelled; the work is done.
    """
    doing = asyncio.create_task(work)
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        while not doing.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([doing])
        if not doing.cancelled():
            doing.exception()  # seen: who wanted it is gone
        raise
