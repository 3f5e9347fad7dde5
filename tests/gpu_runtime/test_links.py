from __future__ import annotations

import asyncio
import os
import socket

from hypothesis import given
from hypothesis import strategies as st

from hotloop.gpu_runtime.links import AsyncLink
from hotloop.gpu_runtime.logs import MAX_LINE_CHARACTERS, LineReader
from hotloop.gpu_runtime.user_env import wire


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 20))


def test_large_frames_and_descriptors_cross_in_order_while_the_reader_is_slow():
    async def main():
        ours, theirs = socket.socketpair()
        got: asyncio.Queue = asyncio.Queue()
        sender = AsyncLink(ours, lambda _: None, lambda: None)
        AsyncLink(theirs, got.put_nowait, lambda: None)
        fd = os.memfd_create("x")
        os.write(fd, b"weights")
        for n in range(20):
            sender.send({"kind": "n", "n": n}, bytes([n]) * 300_000, fds=(fd,) * (n % 3))
        os.close(fd)
        messages = [await got.get() for _ in range(20)]
        return [(m.header["n"], m.payload == bytes([m.header["n"]]) * 300_000, [os.pread(f, 9, 0) for f in m.fds])
                for m in messages]  # fmt: skip

    assert run(main()) == [(n, True, [b"weights"] * (n % 3)) for n in range(20)]


def test_end_of_the_other_side_is_told_once():
    async def main():
        ours, theirs = socket.socketpair()
        ends: list[int] = []
        link = AsyncLink(ours, lambda _: None, lambda: ends.append(1))
        theirs.close()
        await asyncio.sleep(0.05)
        link.send({"kind": "late"})
        link.close()
        return ends

    assert run(main()) == [1]


def test_bytes_that_are_no_frame_end_the_link():
    async def main():
        ours, theirs = socket.socketpair()
        ended = asyncio.Event()
        AsyncLink(ours, lambda _: None, ended.set)
        theirs.send(b"\xff" * 64)
        await ended.wait()

    run(main())


@given(st.lists(st.tuples(st.dictionaries(st.text(max_size=5), st.integers()), st.binary(max_size=50)), max_size=8),
       st.lists(st.integers(1, 40), min_size=1))  # fmt: skip
def test_frames_survive_any_split_of_the_stream(frames, sizes):
    stream = b"".join(wire.pack({**h, "kind": "k"}, p) for h, p in frames)
    reader, got, at, n = wire.FrameReader(), [], 0, 0
    while at < len(stream):
        size = sizes[n % len(sizes)]
        got += reader.feed(stream[at : at + size])
        at, n = at + size, n + 1

    assert [(m.header, m.payload) for m in got] == [({**h, "kind": "k"}, p) for h, p in frames]


def test_half_of_a_surrogate_pair_in_a_header_is_replaced_and_a_name_that_is_no_utf_8_kept():
    headers = [{"kind": "x", "text": text} for text in ("\ud800\u00e9", "\udce9\u00e9")]
    found = wire.FrameReader().feed(b"".join(map(wire.pack, headers)))

    assert [message.header["text"] for message in found] == ["?\u00e9", "\udce9\u00e9"]


def test_lines_are_cut_and_the_last_needs_no_line_break():
    async def main():
        read, write = os.pipe()
        lines: list[str] = []
        reader = LineReader(read, lines.append)
        os.write(write, b"one\ntw")
        await asyncio.sleep(0.02)
        os.write(write, b"o\r\n" + "é".encode() + b"\xff" + b"x" * MAX_LINE_CHARACTERS)
        os.close(write)
        await asyncio.sleep(0.05)
        reader.close()
        return lines

    lines = run(main())
    assert lines[:2] == ["one", "two"]
    assert "".join(lines[2:]) == "é\ufffd" + "x" * MAX_LINE_CHARACTERS
    assert max(map(len, lines)) == MAX_LINE_CHARACTERS
