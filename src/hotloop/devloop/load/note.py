"""Put an answer's times, and what the server says of them, into the tally."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotloop.devloop.load.connection import BATCH_SIZE, COMPUTE_MS, QUEUE_MS

if TYPE_CHECKING:
    from hotloop.devloop.load.connection import Connection
    from hotloop.devloop.load.tally import Tally, Window


def note(tally: Tally, window: Window, connection: Connection, now_s: float) -> None:
    """Count the answer that a connection has just got."""
    if not tally.answered(window, connection.due_s, now_s, connection.status):
        return
    fields = connection.fields
    if not fields or connection.status >= 300:
        return
    try:
        if QUEUE_MS in fields:
            tally.queue.add(float(fields[QUEUE_MS]) / 1000)
        if COMPUTE_MS in fields:
            tally.compute.add(float(fields[COMPUTE_MS]) / 1000)
        if BATCH_SIZE in fields:
            tally.batch_sizes[int(fields[BATCH_SIZE])] += 1
    except ValueError:
        return  # another server's header of that name
