"""The event stream as JSON, one object a line: for programs, continuous integration and coding agents."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, TextIO

from hotloop.events import EventsDropped, SessionEnded, to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotloop.events import Event

MAX_WAITING = 10_000  # lines for a reader that does not read; what is more is counted
CLOSE_TIMEOUT_S = 2.0  # for a reader to take the last lines


class JsonLines:
    """Writes each event as it comes; nothing else is written to its stream.

    A thread writes: a reader that stops reading must not stop the loop. It gets what waited once it reads again, and after
    it, where lines had to be dropped, an `EventsDropped`.

    Attributes:
        on_gone: Called in that thread when the reader is gone.
    """

    def __init__(self, out: TextIO, *, max_waiting: int = MAX_WAITING) -> None:
        self.on_gone: Callable[[], None] = lambda: None
        self._fd = out.fileno()
        self._max_waiting = max_waiting
        self._waiting: deque[bytes] = deque()
        self._num_dropped = 0
        self._changed = threading.Condition()
        self._is_gone = self._is_closing = False
        self._thread = threading.Thread(target=self._write_all, name="json lines", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        """Have one event written.

        Raises:
            BrokenPipeError: The reader is gone.
        """
        with self._changed:
            if self._is_gone:
                raise BrokenPipeError
            is_last = isinstance(event, SessionEnded)
            if not is_last and (self._num_dropped or len(self._waiting) >= self._max_waiting):
                self._num_dropped += 1
                return
            if self._num_dropped:
                self._waiting.append(self._dropped())
            self._waiting.append(_line(event))
            self._changed.notify_all()

    def close(self) -> None:
        """Wait until all is written, or the reader does not take it."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join(CLOSE_TIMEOUT_S)

    def _write_all(self) -> None:
        while lines := self._next():
            try:
                while lines:
                    lines = lines[os.write(self._fd, lines) :]
            except OSError as error:
                if not isinstance(error, BrokenPipeError):
                    print(f"error: the events can't be written: {error.strerror}", file=sys.stderr, flush=True)
                with self._changed:
                    self._is_gone = True
                self.on_gone()
                return

    def _next(self) -> bytes:
        """Wait for lines; empty when there will be none."""
        with self._changed:
            while not (self._waiting or self._num_dropped or self._is_closing):
                self._changed.wait()
            if self._waiting:
                return self._waiting.popleft()
            return self._dropped() if self._num_dropped else b""

    def _dropped(self) -> bytes:
        count, self._num_dropped = self._num_dropped, 0
        return _line(EventsDropped(time.monotonic(), count))


def _line(event: Event) -> bytes:
    return json.dumps(to_json(event), separators=(",", ":")).encode() + b"\n"
