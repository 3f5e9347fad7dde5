"""A reader of `--json` that is slow, that stops, that is gone."""

import fcntl
import json
import os
import time

import pytest

from hotloop import events
from hotloop.cli.json_lines import JsonLines

PIPE_BYTES = 4096
F_SETPIPE_SZ = 1031


@pytest.fixture
def pipe():
    source, sink = os.pipe()
    fcntl.fcntl(sink, F_SETPIPE_SZ, PIPE_BYTES)
    with os.fdopen(source) as reader, os.fdopen(sink, "w") as writer:
        yield reader, writer


def log(number):
    return events.Log(0.0, 1, "stdout", f"{number} " + "x" * 100)


def told(reader, count):
    return [events.from_json(json.loads(reader.readline())) for _ in range(count)]


@pytest.mark.parametrize("num_dropped", [0, 1, 500])
def test_what_a_reader_that_stopped_missed_is_counted(pipe, num_dropped):
    reader, writer = pipe
    sink = JsonLines(writer, max_waiting=50)
    kept = [log(0)]
    sink(kept[0])
    while len(sink._waiting) < 50:  # until the pipe and the queue are full
        kept.append(log(len(kept)))
        sink(kept[-1])
        time.sleep(0.002)
    for _ in range(num_dropped):
        sink(log("dropped"))

    assert told(reader, len(kept)) == kept
    if num_dropped:
        assert told(reader, 1) == [events.EventsDropped(pytest.approx(time.monotonic(), abs=60), num_dropped)]
    sink(log("after"))
    assert told(reader, 1) == [log("after")]
    sink.close()


def test_the_end_is_told_whatever_was_dropped(pipe):
    reader, writer = pipe
    sink = JsonLines(writer, max_waiting=5)
    for number in range(1000):
        sink(log(number))
    sink(events.SessionEnded(1.0, ""))

    kinds = []
    while "session_ended" not in kinds:
        kinds.append(told(reader, 1)[0].kind)
    assert kinds[-2:] == ["events_dropped", "session_ended"]
    sink.close()


def test_a_reader_that_is_gone_is_said_at_once(pipe):
    reader, writer = pipe
    sink = JsonLines(writer)
    gone = []
    sink.on_gone = lambda: gone.append(True)
    reader.close()
    sink(log(1))
    sink._thread.join(10)

    assert gone == [True]
    with pytest.raises(BrokenPipeError):
        sink(log(2))
