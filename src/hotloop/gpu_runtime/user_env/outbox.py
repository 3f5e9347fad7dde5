"""What streams have to say and was not sent yet: what comes faster than it can be carried goes together.

A piece goes at once, unless something went within the last `PAUSE_S`. Then it waits, though for no timer: it goes with the
first piece after the pause, with the end of its stream, or as soon as the generator lets go of the interpreter (it
sleeps, waits, computes in C), for a thread waits for nothing else. So a slow generator's items are never held back, and
a quick one's cost a share of a frame each.

Pieces are added without a lock, by one thread: it costs as much as all the rest. A list that one thread appends to,
while another takes from its front, loses nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from hotloop.gpu_runtime.user_env.wire import LinkClosed

PAUSE_S = 0.0005

Send = Callable[[dict[str, Any], bytes], None]


class Channel:
    """One request's stream, as far as it is not sent.

    Attributes:
        head: What the front has to know before the next piece.
        pieces: What was not sent.
        has_bounds: Whether the client should get each piece as a piece of its own.
        ending: What the front has to know at the end, once the last piece is there.
    """

    __slots__ = ("call_id", "ending", "has_bounds", "head", "item_id", "pieces")

    def __init__(self, call_id: int, item_id: int) -> None:
        self.call_id = call_id
        self.item_id = item_id
        self.head: dict[str, Any] = {}
        self.pieces: list[bytes] = []
        self.has_bounds = False
        self.ending: dict[str, Any] = {}

    def take(self) -> tuple[dict[str, Any], list[bytes]]:
        """Take out what there is: its header in the frame, and the pieces."""
        ending, self.ending = self.ending, {}  # before the pieces: the end must not overtake the last of them
        head, self.head = self.head, {}
        taken = self.pieces[:]
        del self.pieces[: len(taken)]
        sizes = list(map(len, taken))
        more: dict[str, Any] = {}
        if len(sizes) > 1:
            more = {"piece_sizes": sizes} if self.has_bounds else {"num_pieces": len(sizes)}
        return {"id": self.call_id, "item": self.item_id, "size": sum(sizes), **more, **head, **ending}, taken


class Outbox:
    """Sends the pieces of all streams, those that are ready together in one frame.

    Args:
        send: Sends a frame, from any thread.
        pause_s: How soon after a frame another one is not sent at once.

    Attributes:
        due_at_s: When a piece goes at once again.
        is_watched: Whether the thread is about to send what is held.
    """

    def __init__(self, send: Send, pause_s: float = PAUSE_S) -> None:
        self.due_at_s = 0.0
        self.is_watched = False
        self._send = send
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._changed: list[Channel] = []
        self._wakes: threading.Lock | None = None
        self._is_closed = False

    def put(self, channel: Channel, piece: bytes, now_s: float) -> bool:
        """Send a piece, at once or with those that come next; whether it went at once.

        Raises:
            LinkClosed: The other side is gone.
        """
        pieces = channel.pieces
        pieces.append(piece)
        if len(pieces) == 1:
            self._changed.append(channel)
        if now_s >= self.due_at_s:
            self.flush()
            return True
        if not self.is_watched:
            self._watch()
        return False

    def end(self, channel: Channel, compute_s: float, error: str = "") -> None:
        """End a stream, with the next `flush`."""
        channel.ending = {"is_end": True, "compute_s": compute_s, **({"error": error} if error else {})}
        self._changed.append(channel)

    def flush(self) -> None:
        """Send all that is held.

        Raises:
            LinkClosed: The other side is gone.
        """
        with self._lock:
            self._flush()

    def leave(self, send: Send) -> None:
        """Send by another way from now on."""
        with self._lock:
            self._send = send

    def close(self) -> None:
        """Let the thread end."""
        self._is_closed = True
        if self._wakes is not None and self._wakes.locked():
            self._wakes.release()

    def _flush(self) -> None:
        self.is_watched = False
        changed, self._changed = self._changed, []
        parts: list[dict[str, Any]] = []
        pieces: list[bytes] = []
        for channel in dict.fromkeys(changed):
            part, taken = channel.take()
            if len(part) > 3 or taken:
                parts.append(part)
                pieces += taken
            if channel.pieces:
                self._changed.append(channel)  # added to meanwhile
        if parts:
            self._send({"kind": "stream", "parts": parts}, b"".join(pieces))
            self.due_at_s = time.perf_counter() + self._pause_s

    # --- the thread ---------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Have the thread send what is held, as soon as it gets to run."""
        self.is_watched = True
        if self._wakes is None:
            self._wakes = threading.Lock()
            self._wakes.acquire()
            threading.Thread(target=self._run, args=(self._wakes,), name="hotloop-streams", daemon=True).start()
        if self._wakes.locked():
            self._wakes.release()

    def _run(self, wakes: threading.Lock) -> None:
        while True:
            wakes.acquire()
            if self._is_closed:
                return
            if not self._lock.acquire(blocking=False):
                continue  # it is being sent; what comes behind it wakes this thread anew
            try:
                self._flush()
            except LinkClosed:
                return  # whoever reads the link hears of it, too
            finally:
                self._lock.release()
