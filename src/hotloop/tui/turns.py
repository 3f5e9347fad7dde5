"""One key after another, also where several come at once: pasted, sent by a script, typed ahead of a slow moment.

Textual hands a key to the widget that has the focus, from where it rises to the app, whose bindings then do what it does.
Meanwhile it hands over the next one: the ``x`` of ``/x`` went to the log before the slash had opened a row to type it in.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from textual.events import Key

from hotloop.tui.delays import call_after

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from textual.app import App
    from textual.dom import DOMNode
    from textual.events import Event

LIMIT_S = 1.0  # of a key: what it does may take longer, such as a screen that can't open
LOOK_S = 0.005  # until it is looked again whether a screen that opens has said where keys go
ROUNDS = 2  # what a key does may tell a widget something, and only what that widget then does moves the focus


class Turns:
    """Keeps keys back until those before them have done what they do."""

    def __init__(self, app: App[Any], give: Callable[[Event], Awaitable[None]]) -> None:
        """Prepare.

        Args:
            app: Whose keys.
            give: Has Textual hand a key to what has the focus.
        """
        self._app = app
        self._give = give
        self._waiting: deque[Event] = deque()
        self._number = 0  # of the key that has its turn
        self._until_s = 0.0
        self._is_taken = False

    async def take(self, event: Event) -> None:
        """Give a key its turn, now or behind those that came before it."""
        if not self._is_taken:
            await self._begin(event)
            return
        self._waiting.append(event)
        if len(self._waiting) == 1:
            self._limit()

    def _limit(self) -> None:
        number = self._number
        call_after(LIMIT_S, self._app, lambda: self._end(number, is_late=True))

    async def _begin(self, event: Event) -> None:
        focused = self._focused
        await self._give(event)
        if isinstance(event, Key) and focused.check_consume_key(event.key, event.character):
            return  # a letter of what is typed: it moves nothing, and the next need not wait until it is painted
        self._is_taken, self._until_s = True, time.monotonic() + LIMIT_S
        self._number += 1
        self._follow(self._focused, self._number, ROUNDS)

    @property
    def _focused(self) -> DOMNode:
        return self._app.focused or self._app.screen

    def _follow(self, node: DOMNode | None, number: int, rounds: int) -> None:
        """Go the key's way up, through the same queues right behind it."""
        while node is not None and node is not self._app:
            if node.call_later(self._follow, node.parent, number, rounds):
                return
            node = node.parent  # that one is going
        self._app.call_later(
            self._app.call_later, self._arrived, number, rounds
        )  # behind the focus: that is a call too

    async def _arrived(self, number: int, rounds: int) -> None:
        if rounds > 1:
            self._follow(self._focused, number, rounds - 1)
        else:
            await self._end(number)

    async def _end(self, number: int, *, is_late: bool = False) -> None:
        if number != self._number or not self._is_taken:
            return
        is_opening = self._app.focused is None and len(self._app.screen_stack) > 1
        if is_opening and not is_late and time.monotonic() < self._until_s:
            call_after(LOOK_S, self._app, lambda: self._end(number))
            return
        self._is_taken = False
        while self._waiting and not self._is_taken:
            await self._begin(self._waiting.popleft())
        if self._waiting:
            self._limit()
