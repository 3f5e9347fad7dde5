"""Tells what a save waits for when no worker was ready for it, as soon after the first start: the app's imports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hotloop import events

if TYPE_CHECKING:
    from collections.abc import Callable

TOLD_AFTER_S = 1.0  # most are ready by then, and there is nothing to explain
_TEXT = "no worker was ready for this save: one was started for it, which imports what the app uses"
_HINT = "a standby that has imported it is being made meanwhile: later saves do not wait for that"


class Unready:
    """Watches reloads that began without a standby."""

    def __init__(
        self, later: Callable[[float, Callable[[], None]], Any], notice: Callable[[str, str, str], None]
    ) -> None:
        """Prepare.

        Args:
            later: Calls a function after so many seconds.
            notice: Takes key, text and hint of a finding.
        """
        self._later = later
        self._notice = notice
        self._is_serving = False
        self._waiting: events.ReloadStarted | None = None

    def heard(self, event: events.Event) -> None:
        """Take in an event."""
        match event:
            case events.ReloadStarted(start="fork") if self._is_serving:
                self._waiting = event
                self._later(TOLD_AFTER_S, lambda: self._tell(event))
            case events.Ready() | events.SessionResumed():
                self._is_serving, self._waiting = True, None
            case events.ReloadStarted() | events.ReloadFailed() | events.ReloadSuperseded() | events.ModelLoading():
                self._waiting = None  # of a model that is loaded, and why, is told already
            case events.RuntimeStarted() | events.RuntimeStopped():
                self._is_serving, self._waiting = False, None
            case _:
                pass

    def _tell(self, event: events.ReloadStarted) -> None:
        if self._waiting is event:
            self._notice("standby", _TEXT, _HINT)
