"""What is counted, and that it is written as Prometheus reads it. The parser is a strict one of the text format."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotloop.gpu_runtime import metrics
from hotloop.gpu_runtime.calls import Call
from hotloop.gpu_runtime.endpoints import EndpointSpec
from hotloop.gpu_runtime.metrics import Metrics, Reading
from hotloop.gpu_runtime.observing import EndpointLoad, Observer
from hotloop.gpu_runtime.scheduler.lane import Batch
from hotloop.gpu_runtime.workers import Worker

SAMPLE = re.compile(r'(\w+)(?:\{((?:\w+="(?:[^"\\\n]|\\[\\n"])*",?)*)\})? (\S+)')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def parsed(text: bytes) -> dict[tuple[str, ...], float]:
    """Samples by name and label values; each family has its HELP and TYPE before its samples, and only once."""
    found: dict[tuple[str, ...], float] = {}
    types: dict[str, str] = {}
    for line in text.decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types
            types[name] = kind
        elif not line.startswith("# HELP "):
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            name, labels, value = match.groups()
            assert name == (last := next(reversed(types))) or types[last] == "histogram", line
            values = [
                re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), v) for _, v in LABEL.findall(labels or "")
            ]
            assert found.setdefault((name, *values), float(value)) == float(value)
    return found


def pending(arrived_at_s: float = 0.0, name: str = "embed") -> Any:
    return SimpleNamespace(arrived_at_s=arrived_at_s, endpoint_name=name)


def counting() -> Metrics:
    return Metrics(Reading)


def test_every_kind_of_event_is_counted():
    counted = counting()
    observer: Observer = counted
    endpoint = EndpointSpec("embed", "/embed")
    worker = Worker(0, lambda *_: True)
    batch = Batch(endpoint, [1, 2], units=10.0, padding=2.0)
    call = Call(1, batch, worker, {1: pending(9.999), 2: pending(9.98)})
    observer.call_began(call, 10.0)
    observer.call_began(Call(2, Batch(endpoint, [3]), worker, {3: pending(10.0)}), 10.0)
    observer.call_ended(call, 0.25)
    observer.call_ended(call, None)
    observer.answered([pending()], 200, [0.3])
    observer.answered([pending()], 200, [0.4])
    observer.answered([pending(name="")], 404, [0.0])
    observer.rejected(pending(), "full")

    found = parsed(counted.render())

    assert found["hotloop_requests_total", "embed", "200"] == 2
    assert found["hotloop_requests_total", "", "404"] == 1
    assert found["hotloop_queue_seconds_count", "embed"] == 3
    assert found["hotloop_queue_seconds_sum", "embed"] == pytest.approx(0.021)
    assert found["hotloop_queue_seconds_bucket", "embed", "0.001"] == 2
    assert found["hotloop_batch_items_bucket", "embed", "1"] == 1
    assert found["hotloop_batch_items_bucket", "embed", "2"] == 2
    assert found["hotloop_batch_seconds_sum", "embed"] == 0.25
    assert found["hotloop_batch_seconds_count", "embed"] == 1
    assert found["hotloop_batch_units_total", "embed"] == 10
    assert found["hotloop_batch_padding_units_total", "embed"] == 2
    assert found["hotloop_rejected_total", "embed", "full"] == 1


def test_gauges_say_what_is_and_forget_what_was():
    load = EndpointLoad("embed", num_waiting=3, num_calls=2, wait_s=0.5, per_call_s=0.1, per_unit_s=0.0)
    state = [Reading((load,), 0, 7, 9, 2), Reading(held=4)]
    counted = Metrics(lambda: state.pop(0))

    busy, idle = parsed(counted.render()), parsed(counted.render())

    assert busy["hotloop_queue_items", "embed"] == 3
    assert busy["hotloop_queue_wait_seconds", "embed"] == 0.5
    assert busy["hotloop_calls", "embed"] == 2
    assert (busy["hotloop_generation",], busy["hotloop_revision",]) == (7, 9)
    assert not [key for key in idle if key[0] in {"hotloop_queue_items", "hotloop_calls"}]
    assert (busy["hotloop_held_items",], idle["hotloop_held_items",]) == (0, 4)
    assert idle["hotloop_generation",] == 0
    assert (busy["hotloop_workers",], idle["hotloop_workers",]) == (2, 0)


@given(st.lists(st.floats(0, 1e6)))
def test_a_histogram_counts_each_value_once_and_at_most_its_bound(values: list[float]):
    counted = counting()
    for value in values:
        counted.answered([pending(name="a")], 200, [value])

    found = parsed(counted.render())

    if values:
        assert found["hotloop_request_seconds_count", "a"] == len(values)
        assert found["hotloop_request_seconds_bucket", "a", "+Inf"] == len(values)
    for bound in metrics.SECONDS if values else ():
        at_most = found["hotloop_request_seconds_bucket", "a", f"{bound:.12g}"]
        assert at_most == sum(value <= bound for value in values)


@given(st.text(max_size=20))
def test_any_name_is_written_so_that_it_is_read_again(name: str):
    name = "".join(name.splitlines())  # what is no line break to Prometheus is one to the test's parser
    counted = counting()
    counted.answered([pending(name=name.encode("utf-8", "replace").decode() + '\n"\\n')], 200, [0.0])

    found = parsed(counted.render())

    assert found["hotloop_requests_total", name.encode("utf-8", "replace").decode() + '\n"\\n', "200"] == 1


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_the_number_of_endpoints_is_bounded(extra: int):
    counted = counting()
    names = [f"e{number}" for number in range(metrics.MAX_ENDPOINTS + extra)]
    for name in names:
        counted.answered([pending(name=name)], 200, [0.0])
        counted.answered([pending(name=name)], 200, [0.0])

    found = parsed(counted.render())

    requests = {key[1]: value for key, value in found.items() if key[0] == "hotloop_requests_total"}
    assert requests.get(metrics.OTHER, 0) == max(0, 2 * extra)
    assert sum(requests.values()) == 2 * len(names)
