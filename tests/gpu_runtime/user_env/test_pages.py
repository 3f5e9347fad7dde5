"""Pages that a forked child wrote to: found, and copied ahead by another one without a change of what is in them."""

import json
import mmap
import os
import sys

import pytest

from hotloop.gpu_runtime.user_env import pages

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone says which pages are shared")

NUM_PAGES = 8


@pytest.fixture
def memory():
    """Private memory that is there before the fork."""
    with mmap.mmap(-1, NUM_PAGES * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.write(b"x" * len(memory))
        yield memory


def in_child(work):
    """What a forked child gives, as JSON."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(write, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        said = json.loads(answer.read() or b"null")
    os.waitpid(pid, 0)
    return said


def is_within(found, first, end):
    return any(each_first <= first and end <= each_end for each_first, each_end in found)


def test_what_a_child_writes_to_is_its_own_for_the_next_one_ahead(memory):
    def write():
        before = pages.look()
        for number in (2, 3, 5):
            memory[number * mmap.PAGESIZE] = 0
        return before.written_since()

    def own_ahead():
        shared = pages.look()
        pages.make_own([*written, (mmap.PAGESIZE, 2 * mmap.PAGESIZE)])  # the last is mapped nowhere
        return [sorted(pages.look().own - shared.own), memory[:].decode()]

    written = in_child(write)
    own, content = in_child(own_ahead)

    runs = [(first, end) for first, end in written if end - first == 2 * mmap.PAGESIZE and first in own]
    assert any(is_within(written, end + mmap.PAGESIZE, end + 2 * mmap.PAGESIZE) for _, end in runs)
    assert content == "x" * len(memory)


def test_no_more_is_told_than_a_standby_may_have(memory, monkeypatch):
    monkeypatch.setattr(pages, "MAX_PAGES", 3)

    def write():
        before = pages.look()
        memory[:] = b"y" * len(memory)
        return sum(end - first for first, end in before.written_since())

    assert in_child(write) <= 3 * mmap.PAGESIZE
