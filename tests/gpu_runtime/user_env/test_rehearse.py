"""The rehearsal goes through all that a reload goes through, and leaves nothing behind."""

from __future__ import annotations

import os
import sys
import threading

from hotloop.gpu_runtime.user_env.items import items
from hotloop.gpu_runtime.user_env.rehearse import record_model, rehearse


def test_each_step_succeeds():
    ready, result, probed, done = rehearse(record_model())

    assert [message.kind for message in (ready, result, probed, done)] == ["ready", "result", "probed", "probes_done"]
    assert (items(result.header)[0]["status"], result.payload) == (200, b'"x!"')
    assert (probed.header["is_ok"], probed.header["problem"], probed.header["output"]) == (True, None, '"x!"')


def test_nothing_is_left_behind():
    def state():
        descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        return dict(sys.modules), list(sys.path), list(sys.path_hooks), sys.argv, os.getcwd(), descriptors  # noqa: PTH109

    rehearse(record_model())
    before, threads = state(), set(threading.enumerate())  # other tests' servers may have some
    rehearse(record_model())

    assert state() == before
    assert set(threading.enumerate()) <= threads
