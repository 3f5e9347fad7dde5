"""Traces as a collector gets them: over HTTP, in OpenTelemetry's own protocol."""

from __future__ import annotations

import http.client
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from hotloop import events
from hotloop.gpu_runtime import tracing
from tests.gpu_runtime.driver import RuntimeDriver

APP = """
import hotloop, os, time
app = hotloop.App("traced")

@app.endpoint(batch=hotloop.Batch(max_size=8))
def echo(text: list[str]) -> list[str]:
    time.sleep(0.1)
    return text

@app.endpoint
def die() -> None:
    os._exit(1)
"""
PARENT = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


class Collector:
    """Takes traces. Use as a context manager."""

    def __init__(self) -> None:
        self.spans = []
        self.services = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                data = self.rfile.read(int(self.headers["content-length"]))
                collector.take(ExportTraceServiceRequest.FromString(data))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def take(self, request):
        for resource in request.resource_spans:
            self.services |= {a.value.string_value for a in resource.resource.attributes if a.key == "service.name"}
            for scope in resource.scope_spans:
                self.spans += scope.spans

    def wait_for(self, name: str, count: int, weight=lambda span: 1):
        """Give the spans of a name, when they weigh so much in sum."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = [span for span in self.spans if span.name == name]
            if sum(map(weight, found)) >= count:
                return found
            time.sleep(0.02)
        raise AssertionError([span.name for span in self.spans])


def attributes(span):
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


def batch_size(span):
    return attributes(span)["hotloop.batch.size"]


def post(address, path, body, **headers):
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)
    connection.request("POST", path, body, {"content-type": "application/json", **headers})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def environment(**more):
    return {**os.environ, "OTEL_BSP_SCHEDULE_DELAY": "50", **more}


def test_a_batch_is_a_span_that_is_linked_with_those_of_its_requests(tmp_path):
    with Collector() as collector:
        told = environment(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
        with RuntimeDriver(tmp_path, {"app.py": APP}, environment=told) as driver:
            driver.wait_for(events.Ready)
            with ThreadPoolExecutor(5) as pool:
                first = pool.submit(
                    post, driver.address, "/echo", '{"text": "a"}', traceparent=f"00-{'-'.join(PARENT)}-01"
                )
                others = [pool.submit(post, driver.address, "/echo", '{"text": "b"}') for _ in range(4)]
                assert {each.result() for each in [first, *others]} == {200}
            assert post(driver.address, "/nowhere", "{}") == 404
            requests = collector.wait_for("POST /echo", 5)
            calls = collector.wait_for("call echo", 5, weight=batch_size)
            (unknown,) = collector.wait_for("POST", 1)

    assert collector.services == {"hotloop app.py"}
    assert sum(map(batch_size, calls)) == 5
    assert len(calls) > 1  # the first one leaves at once
    by_id = {span.span_id: span for span in requests}
    for call in calls:
        assert len(call.links) == batch_size(call)
        assert attributes(call)["hotloop.compute_s"] >= 0.1
        for link in call.links:
            request = by_id.pop(link.span_id)
            assert [back.span_id for back in request.links] == [call.span_id]
            assert request.start_time_unix_nano <= call.start_time_unix_nano
            assert call.end_time_unix_nano <= request.end_time_unix_nano
            assert attributes(request)["http.response.status_code"] == 200
    assert not by_id
    assert (PARENT[0], PARENT[1]) in {(r.trace_id.hex(), r.parent_span_id.hex()) for r in requests}
    assert attributes(unknown)["http.response.status_code"] == 404


def test_a_call_under_which_the_worker_died_ends_as_an_error(tmp_path):
    with Collector() as collector:
        told = environment(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_SERVICE_NAME="mine")
        with RuntimeDriver(tmp_path, {"app.py": APP}, environment=told) as driver:
            driver.wait_for(events.Ready)
            assert post(driver.address, "/die", "") == 502
            (call,) = collector.wait_for("call die", 1)
            (request,) = collector.wait_for("POST /die", 1)

    assert collector.services == {"mine"}
    assert (call.status.message, request.status.code) == ("the worker died", call.status.code)


def test_a_collector_that_is_not_there_holds_nothing_up(tmp_path):
    told = environment(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    with RuntimeDriver(tmp_path, {"app.py": APP}, environment=told) as driver:
        driver.wait_for(events.Ready)
        assert post(driver.address, "/echo", '{"text": "a"}') == 200


def test_what_can_not_be_exported_is_told_with_what_to_set(tmp_path):
    told = environment(OTEL_TRACES_EXPORTER="jaeger")
    with RuntimeDriver(tmp_path, {"app.py": APP}, environment=told) as driver:
        driver.wait_for(events.Ready)
        (notice,) = [event for event in driver.events if isinstance(event, events.Notice)]

    assert "jaeger" in notice.text
    assert "OTEL_TRACES_EXPORTER=otlp" in notice.hint


@pytest.mark.parametrize(
    ("variables", "is_wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, False),
    ],
)
def test_traces_are_made_when_the_environment_says_where_they_go(variables, is_wanted):
    assert tracing.is_wanted(variables) == is_wanted
