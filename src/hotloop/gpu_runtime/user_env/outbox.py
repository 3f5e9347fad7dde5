"""What streams have to say and was not sent yet: what comes faster than it can be carried goes together.

A piece goes at once, unless something went within the last `PAUSE_S`. Then it waits, though for no timer: it goes with the
first piece after the pause, with the end of its stream, or as soon as the generator lets go of the interpreter (it
sleeps, waits, computes in C), for a thread waits for nothing else. So a slow generator's items are never held back, and
a quick one's cost a share of a frame each.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hotloop.gpu_runtime.user_env.wire import LinkClosed

PAUSE_S = 0.0005
MAX_HELD_BYTES = 1 << 18

Send = Callable[[dict[str, Any], bytes], None]


@dataclass(slots=True)
class _Part:
    """What one stream has in the next frame."""

    header: dict[str, Any]
    pieces: list[bytes] = field(default_factory=list[bytes])
    has_bounds: bool = False

    def close(self) -> dict[str, Any]:
        """Give the header with the sizes: of each piece, if the client should see where one ends."""
        sizes = list(map(len, self.pieces))
        more = {"sizes": sizes} if self.has_bounds and len(sizes) > 1 else {}
        return {**self.header, "size": sum(sizes), **more}


class Outbox:
    """Sends the pieces of all streams, those that are ready together in one frame.

    Args:
        send: Sends a frame, from any thread.
        pause_s: How soon after a frame another one is not sent at once.
    """

    def __init__(self, send: Send, pause_s: float = PAUSE_S) -> None:
        self._send = send
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._parts: dict[int, _Part] = {}
        self._held_bytes = 0
        self._sent_at_s = 0.0
        self._wakes: threading.Lock | None = None

    def put(self, call_id: int, item_id: int, piece: bytes, *, has_bounds: bool = False, **more: Any) -> bool:
        """Send a piece of a request's stream, at once or with those that come next.

        Args:
            call_id: The call.
            item_id: The request.
            piece: The bytes.
            has_bounds: Whether the client should get it as a piece of its own.
            **more: What the front has to know beside it.

        Returns:
            Whether it went at once.
        """
        with self._lock:
            part = self._part(call_id, item_id)
            part.pieces.append(piece)
            part.has_bounds = has_bounds
            if more:
                part.header.update(more)
            self._held_bytes += len(piece)
            if self._is_due():
                self._flush()
                return True
        self._wake()
        return False

    def end(self, call_id: int, item_id: int, compute_s: float, error: str = "") -> None:
        """End a request's stream; what is held goes along."""
        with self._lock:
            header = self._part(call_id, item_id).header
            header |= {"is_end": True, "compute_s": compute_s}
            if error:
                header["error"] = error
            self._flush()

    def flush(self) -> None:
        """Send what is held.

        Raises:
            LinkClosed: The other side is gone.
        """
        with self._lock:
            if self._parts:
                self._flush()

    def _part(self, call_id: int, item_id: int) -> _Part:
        part = self._parts.get(item_id)
        if part is None:
            part = self._parts[item_id] = _Part({"id": call_id, "item": item_id})
        return part

    def _is_due(self) -> bool:
        return time.perf_counter() - self._sent_at_s >= self._pause_s or self._held_bytes >= MAX_HELD_BYTES

    def _flush(self) -> None:
        parts, self._parts, self._held_bytes = list(self._parts.values()), {}, 0
        payload = b"".join([piece for part in parts for piece in part.pieces])
        self._send({"kind": "stream", "parts": [part.close() for part in parts]}, payload)
        self._sent_at_s = time.perf_counter()

    # --- the thread ---------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Have the thread send what is held, as soon as it gets to run."""
        if self._wakes is None:
            self._wakes = threading.Lock()
            self._wakes.acquire()
            threading.Thread(target=self._watch, args=(self._wakes,), name="hotloop-streams", daemon=True).start()
        if self._wakes.locked():
            self._wakes.release()

    def _watch(self, wakes: threading.Lock) -> None:
        while True:
            wakes.acquire()
            try:
                self.flush()
            except LinkClosed:
                return  # whoever reads the link hears of it, too
