"""Calls after a time.

Textual's own one-shot timer is never due where its process was held up, for longer than the delay, just as it was set: it
takes itself for late, and skips. On a busy machine the log showed no line any more, for good.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.message_pump import MessagePump


def call_after(delay_s: float, node: MessagePump, function: Callable[[], object]) -> asyncio.TimerHandle:
    """Have a widget or the app call a function (or coroutine function) after a time, unless it is gone by then.

    Returns:
        What to call `cancel` of if it is not wanted any more.
    """
    return asyncio.get_running_loop().call_later(delay_s, node.call_next, function)
