# pyright: basic
"""OpenTelemetry traces of what is served: a span a request, and one a batch that is linked with those it holds.

It is on when the app's environment says where traces go, by the variables that OpenTelemetry defines
(https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/). Basic type checks: the library is
an extra, and imported only then.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from hotloop.errors import HotloopError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hotloop.gpu_runtime.calls import Call, Pending
    from hotloop.gpu_runtime.observing import Reason

_WHERE = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_NONE = frozenset({"", "none"})
_CARRIED = ("traceparent", "tracestate")
FLUSH_TIMEOUT_S = 2.0


class CannotTraceError(HotloopError):
    """Traces are asked for, and can't be made."""


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Whether an environment says where traces go."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER")
    return any(environment.get(name) for name in _WHERE) if exporter is None else exporter not in _NONE


def start(environment: Mapping[str, str], service: str) -> Tracing:
    """Begin to trace.

    Args:
        environment: The app's; what begins with ``OTEL_`` configures the exporter.
        service: The service's name, unless the environment has one.

    Raises:
        CannotTraceError: The library is not installed, or another way to export is asked for than OTLP by HTTP.
    """
    os.environ.update({name: value for name, value in environment.items() if name.startswith("OTEL_")})
    exporter = environment.get("OTEL_TRACES_EXPORTER", "otlp")
    protocol = environment.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    if exporter != "otlp" or protocol != "http/protobuf":
        msg = f"traces can't be exported by {exporter} with {protocol}"
        raise CannotTraceError(msg, hint="set OTEL_TRACES_EXPORTER=otlp and OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        msg = f"OpenTelemetry's variables are set, but traces can't be made: no module {error.name!r}"
        raise CannotTraceError(msg, hint="install it beside hotloop: pip install 'hotloop[otel]'") from error
    named = {} if environment.get("OTEL_SERVICE_NAME") else {"service.name": service}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


class Tracing:
    """Makes the spans (an `Observer`).

    Args:
        provider: Gives the tracer; closed with this.
    """

    def __init__(self, provider: Any) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation import tracecontext

        self._provider = provider
        self._tracer = provider.get_tracer("hotloop")
        self._propagator = tracecontext.TraceContextTextMapPropagator()
        self._trace = trace
        self._requests: dict[int, Any] = {}  # those that a worker has: whatever becomes of them, they are answered
        self._calls: dict[int, Any] = {}

    def call_began(self, call: Call, now_s: float) -> None:
        """See `Observer`."""
        spans = [self._open(pending, now_s) for pending in call.items.values() if not pending.is_probe]
        if not spans:
            return
        batch = call.batch
        span = self._calls[call.id] = self._tracer.start_span(
            f"call {batch.endpoint.name}",
            links=[self._trace.Link(span.get_span_context()) for span in spans],
            attributes={
                "hotloop.batch.size": len(batch.requests),
                "hotloop.batch.units": batch.units,
                "hotloop.batch.padding_units": batch.padding,
            },
            start_time=_wall_ns(0.0),
        )
        for each in spans:
            each.add_link(span.get_span_context())

    def call_ended(self, call: Call, compute_s: float | None) -> None:
        """See `Observer`."""
        span = self._calls.pop(call.id, None)
        if span is None:
            return
        if compute_s is None:
            span.set_status(self._trace.StatusCode.ERROR, "the worker died")
        else:
            span.set_attribute("hotloop.compute_s", compute_s)
        span.end()

    def streamed(self, call: Call, num_items: int) -> None:
        """See `Observer`: a span of a request tells its length alone."""

    def answered(self, pendings: Sequence[Pending], status: int, took_s: Sequence[float]) -> None:
        """See `Observer`."""
        for pending, each_s in zip(pendings, took_s, strict=True):
            self._answered(pending, status, each_s)

    def _answered(self, pending: Pending, status: int, took_s: float) -> None:
        span = self._requests.pop(pending.id, None) or self._start(pending, took_s)
        span.set_attribute("http.response.status_code", status)
        if pending.generation:
            span.set_attribute("hotloop.generation", pending.generation)
        if status >= 500:
            span.set_status(self._trace.StatusCode.ERROR)
        span.end()

    def rejected(self, pending: Pending, reason: Reason) -> None:
        """See `Observer`."""
        span = self._requests.get(pending.id)
        if span is None:
            span = self._requests[pending.id] = self._start(pending, 0.0)
        span.set_attribute("hotloop.rejected", reason)

    def close(self) -> None:
        """Send what was not sent yet. Blocks for `FLUSH_TIMEOUT_S` at most, though the exporter would try for longer."""
        last = threading.Thread(target=self._provider.shutdown, name="last traces", daemon=True)
        last.start()
        last.join(FLUSH_TIMEOUT_S)

    def _open(self, pending: Pending, now_s: float) -> Any:
        """Give the span of a request that a worker is sent: for the second time if one died under it."""
        waited_s = now_s - pending.arrived_at_s
        span = self._requests.get(pending.id)
        if span is None:
            span = self._requests[pending.id] = self._start(pending, waited_s)
        span.set_attribute("hotloop.queue_s", waited_s)
        return span

    def _start(self, pending: Pending, age_s: float) -> Any:
        exchange = pending.exchange
        carrier = {name: exchange.header(name.encode()).decode("latin-1") for name in _CARRIED}
        where = pending.endpoint.path if pending.endpoint is not None else ""
        return self._tracer.start_span(
            f"{exchange.method} {where}".rstrip(),
            context=self._propagator.extract(carrier),
            kind=self._trace.SpanKind.SERVER,
            attributes={
                "http.request.method": exchange.method,
                "url.path": exchange.path,
                **({"http.route": where} if where else {}),
            },
            start_time=_wall_ns(age_s),
        )


def _wall_ns(age_s: float) -> int:
    """When something was that is so old now, as spans have it."""
    return time.time_ns() - round(age_s * 1e9)
