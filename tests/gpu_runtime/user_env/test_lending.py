"""Payloads in shared memory: the borrower's as long as it looks, the lender's again when it does not; nothing is left."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotloop.gpu_runtime.links import AsyncLink
from hotloop.gpu_runtime.user_env import wire
from hotloop.gpu_runtime.user_env.lending import KINDS, MAX_BUFFERS, Borrower, Lender, Payload

KB = 1024
CALL = {"kind": "call"}


def cross(lender: Lender, borrower: Borrower, payload: Payload) -> memoryview:
    loan = lender.lend(payload)
    assert loan is not None
    return borrower.take(loan.header, loan.fds)


def num_fds() -> int:
    """Those of payloads: others may be let go of at any moment, by what earlier tests left to the garbage collector."""
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]  # noqa: PTH208
    return sum("hotloop-payload" in os.readlink(link) for link in links if os.path.lexists(link))  # noqa: PTH115


def num_mappings() -> int:
    return Path("/proc/self/maps").read_text().count("hotloop-payload")


@pytest.mark.parametrize(("size", "is_lent"), [(9_999, False), (10_000, True), (10_001, True)])
def test_a_payload_is_lent_from_a_size_on(size, is_lent):
    loan = Lender(from_bytes=10_000).lend([b"x" * (size - 4), b"tail"])

    assert (loan is not None) is is_lent
    for fd in loan.fds if loan is not None else ():
        os.close(fd)


def test_without_shared_memory_nothing_is_lent():
    assert Lender(can_lend=False).lend(bytes(1 << 20)) is None


def test_a_buffer_is_filled_again_when_the_last_view_is_gone_and_travels_once():
    lender, borrower = Lender(from_bytes=1), Borrower()
    first = lender.lend([b"first ", b"payload"])
    assert first is not None
    view = borrower.take(first.header, first.fds)
    part = view[6:]
    del view
    second = lender.lend(b"second")
    assert second is not None
    other = borrower.take(second.header, second.fds)
    before = bytes(part)
    del part
    third = lender.lend(b"third")
    assert third is not None

    assert (before, bytes(other)) == (b"payload", b"second")
    assert (first.header["id"], second.header["id"], third.header["id"]) == (1, 2, 1)
    assert (len(first.fds), len(second.fds), len(third.fds)) == (1, 1, 0)
    assert bytes(borrower.take(third.header, third.fds)) == b"third"


def test_what_is_borrowed_can_be_written_to():
    lender, borrower = Lender(from_bytes=1), Borrower()
    payload = b"a" * 100
    view = cross(lender, borrower, payload)
    view[:] = b"b" * 100
    other = cross(lender, borrower, payload)

    assert (payload, bytes(view), bytes(other)) == (b"a" * 100, b"b" * 100, b"a" * 100)


@pytest.mark.parametrize(("num_held", "is_lent"), [(MAX_BUFFERS - 1, True), (MAX_BUFFERS, False)])
def test_who_keeps_everything_gets_the_rest_through_the_socket(num_held, is_lent):
    lender, borrower = Lender(from_bytes=1), Borrower()
    held = [cross(lender, borrower, b"%d" % number) for number in range(num_held)]
    loan = lender.lend(b"more")

    assert (loan is not None) is is_lent
    assert [bytes(view) for view in held] == [b"%d" % number for number in range(num_held)]
    if loan is not None:
        del loan, held[0]
    else:
        del held[0]
        assert lender.lend(b"more") is not None


def test_many_small_buffers_make_room_for_larger_ones():
    before = num_mappings()
    lender, borrower = Lender(from_bytes=1), Borrower()
    held = [cross(lender, borrower, bytes(8 * KB)) for _ in range(MAX_BUFFERS)]
    held.clear()
    for _ in range(MAX_BUFFERS):
        held.append(cross(lender, borrower, bytes(64 * KB)))  # noqa: PERF401

    assert num_mappings() == before + 2 * MAX_BUFFERS
    lender.close()
    borrower.close()
    held.clear()
    assert num_mappings() == before


@pytest.mark.parametrize(("max_kept_bytes", "is_kept"), [(16 * KB - 1, False), (16 * KB, True)])
def test_the_pages_of_a_large_buffer_are_given_up_with_it(max_kept_bytes, is_kept):
    lender, borrower = Lender(from_bytes=1, max_kept_bytes=max_kept_bytes), Borrower()
    cross(lender, borrower, b"x" * 16 * KB)  # nobody holds it

    assert lender._buffers[0].is_free
    assert lender._buffers[0].memory[:1] == (b"x" if is_kept else b"\0")


def test_a_child_of_the_users_that_drops_its_copy_gives_nothing_back():
    lender, borrower = Lender(from_bytes=1), Borrower()
    view = cross(lender, borrower, b"mine")
    pid = os.fork()
    if not pid:
        del view
        os._exit(0)
    os.waitpid(pid, 0)
    second = lender.lend(b"more")

    assert second is not None
    assert second.header["id"] == 2
    os.close(second.fds[0])
    assert bytes(view) == b"mine"


@given(st.lists(st.tuples(st.integers(1, 300), st.booleans(), st.integers(0, 9)), max_size=60))
@settings(deadline=None)
def test_whatever_is_held_stays_as_it_came(steps):
    fds, mappings = num_fds(), num_mappings()
    lender, borrower = Lender(from_bytes=100, max_kept_bytes=20 * KB), Borrower()
    held: list[tuple[memoryview, bytes]] = []
    for number, (size, is_kept, released) in enumerate(steps):
        payload = bytes([number % 251]) * (size * 97)
        loan = lender.lend(payload)
        if loan is not None:
            view = borrower.take(loan.header, loan.fds)[size:]
            if is_kept:
                held.append((view, payload[size:]))
            del view
        if held and released:
            del held[released % len(held)]

        assert all(view == wanted for view, wanted in held)

    held.clear()
    lender.close()
    borrower.close()
    assert (num_fds(), num_mappings()) == (fds, mappings)


# --- on a link --------------------------------------------------------------------------------------------------


def link_pair() -> tuple[wire.Link, wire.Link]:
    ours, theirs = socket.socketpair()
    first, second = wire.Link(ours), wire.Link(theirs)
    first.lender = Lender(from_bytes=1000)
    return first, second


@pytest.mark.parametrize("kind", [*sorted(KINDS), "model"])
def test_frames_whose_receivers_can_do_with_it_are_lent(kind):
    fds = num_fds()
    first, second = link_pair()
    first.send({"kind": kind, "n": 1}, [b"a" * 999, b"b"])
    message = second.receive()

    assert message.header == {"kind": kind, "n": 1}
    assert isinstance(message.payload, memoryview if kind in KINDS else bytes)
    assert message.payload == b"a" * 999 + b"b"
    first.close()
    second.close()
    del message
    assert num_fds() == fds


def test_a_frame_with_descriptors_carries_its_payload_itself():
    first, second = link_pair()
    read, write = os.pipe()
    first.send(CALL, bytes(1000), (read, write))
    message = second.receive()
    os.write(message.fds[1], b"x")

    assert (message.payload, os.read(read, 1)) == (bytes(1000), b"x")
    for fd in (read, write, *message.fds):
        os.close(fd)


def test_a_link_that_closes_amid_frames_leaves_no_descriptor():
    fds, mappings = num_fds(), num_mappings()
    first, second = link_pair()
    for _ in range(3):
        first.send(CALL, bytes(1000))
    second.close()
    with pytest.raises(wire.LinkClosed):
        first.send(CALL, bytes(5000))
    first.close()

    assert (num_fds(), num_mappings()) == (fds, mappings)


def test_a_descriptor_of_half_a_frame_is_closed():
    fds = num_fds()
    read, write = os.pipe()
    reader = wire.FrameReader()
    reader.feed(wire.pack({**CALL, "fds": 1})[:-1], [read])
    reader.close()
    os.close(write)

    assert num_fds() == fds


def test_a_loan_that_can_not_be_mapped_is_no_frame():
    reader = wire.FrameReader()
    with pytest.raises(wire.BadFrame, match="can't be mapped"):
        reader.feed(wire.pack({**CALL, "loan": {"id": 7, "capacity": 4096, "size": 1}}))


def test_loans_cross_in_order_while_the_reader_is_slow_and_an_end_that_dies_owes_nothing():
    async def main() -> list[Any]:
        ours, theirs = socket.socketpair()
        got: asyncio.Queue[wire.Message] = asyncio.Queue()
        sender = AsyncLink(ours, lambda _: None, lambda: None, Lender(from_bytes=1000))
        receiver = AsyncLink(theirs, got.put_nowait, lambda: None)
        for number in range(40):
            sender.send({**CALL, "n": number}, bytes([number]) * (500 + 30_000 * (number % 3)))
        messages = [await got.get() for _ in range(40)]
        sender.close()
        receiver.close()
        return [(m.header["n"], m.payload == bytes([n]) * (500 + 30_000 * (n % 3))) for n, m in enumerate(messages)]

    fds, mappings = num_fds(), num_mappings()
    assert asyncio.run(asyncio.wait_for(main(), 20)) == [(number, True) for number in range(40)]
    assert (num_fds(), num_mappings()) == (fds, mappings)
