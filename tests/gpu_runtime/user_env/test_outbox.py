"""Pieces of streams on their way out: in order, none lost, together when they come faster than they are carried."""

from __future__ import annotations

import itertools
import math
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotloop.gpu_runtime.user_env.outbox import Channel, Outbox
from hotloop.gpu_runtime.user_env.wire import LinkClosed

LATER = math.inf  # a time at which a piece goes at once
WAIT_S = 20.0


def cut(header: dict[str, Any], payload: bytes) -> list[tuple[dict[str, Any], bytes]]:
    ends = list(itertools.accumulate([part["size"] for part in header["parts"]], initial=0))
    assert ends[-1] == len(payload)
    return [(part, payload[a:b]) for part, a, b in zip(header["parts"], ends, ends[1:], strict=False)]


class Sent:
    """Collects frames; the sending can be held up."""

    def __init__(self) -> None:
        self.frames: queue.Queue[list[tuple[dict[str, Any], bytes]]] = queue.Queue()
        self.is_free = threading.Event()
        self.is_free.set()
        self.is_entered = threading.Semaphore(0)

    def __call__(self, header: dict[str, Any], payload: bytes) -> None:
        self.is_entered.release()
        assert self.is_free.wait(WAIT_S)
        self.frames.put(cut(header, payload))

    def next(self) -> list[tuple[dict[str, Any], bytes]]:
        return self.frames.get(timeout=WAIT_S)


@pytest.fixture
def outbox_to() -> Iterator[Callable[..., Outbox]]:
    """Make outboxes whose threads end with the test."""
    before, made = set(threading.enumerate()), []

    def make(send: Any, pause_s: float = 3600) -> Outbox:
        made.append(Outbox(send, pause_s))
        return made[-1]

    yield make
    for outbox in made:
        outbox.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(WAIT_S)

        assert not thread.is_alive()


def piece(item_id: int, data: bytes, **more: Any) -> tuple[dict[str, Any], bytes]:
    return {"id": 1, "item": item_id, "size": len(data), **more}, data


def test_a_piece_goes_at_once_with_what_the_front_has_to_know(outbox_to):
    sent = Sent()
    outbox, channel = outbox_to(sent), Channel(1, 10)
    channel.head = {"type": "text/plain", "status": 200}

    assert outbox.put(channel, b"one", LATER)
    assert outbox.put(channel, b"two", LATER)
    assert sent.next() == [piece(10, b"one", type="text/plain", status=200)]
    assert sent.next() == [piece(10, b"two")]


@pytest.mark.parametrize(("before_s", "is_at_once"), [(0.001, False), (0, True), (-0.001, True)])
def test_a_piece_goes_at_once_from_the_end_of_the_pause_on(outbox_to, before_s, is_at_once):
    outbox, channel = outbox_to(Sent()), Channel(1, 10)
    outbox.flush()
    assert outbox.put(channel, b"one", LATER)

    assert outbox.put(channel, b"two", outbox.due_at_s - before_s) is is_at_once


def test_a_piece_that_is_held_goes_though_nothing_follows_it(outbox_to):
    sent = Sent()
    outbox, channel = outbox_to(sent), Channel(1, 10)
    outbox.put(channel, b"one", LATER)

    assert not outbox.put(channel, b"two", 0.0)
    assert [sent.next(), sent.next()] == [[piece(10, b"one")], [piece(10, b"two")]]


@pytest.mark.parametrize(("has_bounds", "more"), [(False, {"num_pieces": 2}), (True, {"piece_sizes": [2, 3]})])
def test_what_comes_while_a_frame_is_carried_goes_together(outbox_to, has_bounds, more):
    sent = Sent()
    outbox, first, second = outbox_to(sent), Channel(1, 10), Channel(1, 11)
    first.has_bounds = has_bounds
    outbox.put(first, b"a", LATER)
    assert sent.is_entered.acquire(timeout=WAIT_S)
    sent.is_free.clear()
    outbox.put(first, b"b", 0.0)
    assert sent.is_entered.acquire(timeout=WAIT_S)  # the thread carries it
    outbox.put(first, b"cc", 0.0)
    outbox.put(second, b"d", 0.0)
    outbox.put(first, b"ccc", 0.0)
    outbox.end(second, 0.5, "cancelled")
    sent.is_free.set()
    outbox.flush()

    assert [sent.next(), sent.next()] == [[piece(10, b"a")], [piece(10, b"b")]]
    assert sent.next() == [
        piece(10, b"ccccc", **more),
        piece(11, b"d", is_end=True, compute_s=0.5, error="cancelled"),
    ]


def test_nothing_to_send_sends_nothing(outbox_to):
    sent = Sent()
    outbox_to(sent).flush()

    assert sent.frames.empty()


def test_a_closed_link_is_told_to_whoever_sends_and_ends_the_thread(outbox_to):
    def send(header: dict[str, Any], payload: bytes) -> None:
        raise LinkClosed

    outbox, channel = outbox_to(send), Channel(1, 10)
    with pytest.raises(LinkClosed):
        outbox.put(channel, b"a", LATER)
    before = set(threading.enumerate())
    outbox.due_at_s = LATER
    outbox.put(channel, b"b", 0.0)
    for thread in set(threading.enumerate()) - before:
        thread.join(WAIT_S)

        assert not thread.is_alive()


@pytest.mark.parametrize("is_used", [False, True])
def test_the_thread_ends_when_it_is_closed(outbox_to, is_used):
    before = set(threading.enumerate())
    outbox = outbox_to(Sent())
    if is_used:
        outbox.put(Channel(1, 10), b"one", LATER)
        outbox.put(Channel(1, 11), b"two", 0.0)
    (thread,) = set(threading.enumerate()) - before or {None}
    outbox.close()
    if thread is not None:
        thread.join(WAIT_S)

    assert (thread is not None) is is_used
    assert thread is None or not thread.is_alive()


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=200))
def test_whatever_goes_at_once_or_is_held_each_stream_is_whole_and_in_order(puts):
    sent = Sent()
    outbox, channels = Outbox(sent, pause_s=3600), [Channel(1, number) for number in range(3)]
    wanted = [b"" for _ in channels]
    for count, (number, is_at_once) in enumerate(puts):
        data = b"%d," % count
        wanted[number] += data
        outbox.put(channels[number], data, LATER if is_at_once else 0.0)
    for channel in channels:
        outbox.end(channel, 0.0)
    outbox.flush()
    outbox.close()

    found, ended = [b"" for _ in channels], set()
    while len(ended) < len(channels):
        for part, data in sent.next():
            assert part["item"] not in ended
            found[part["item"]] += data
            if part.get("is_end"):
                ended.add(part["item"])
    assert found == wanted
    assert sent.frames.empty()
