"""Sends spans with the SDK of OpenTelemetry. Loaded only if an endpoint is configured; needs the extra `otel`."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.chassis import telemetry
from services.chassis.telemetry import Attributes
from services.chassis.tracing import TRACEPARENT

EXPORT_SECONDS = 1.0
TIMEOUT_SECONDS = 5.0

_KINDS = {
    telemetry.SERVER: trace.SpanKind.SERVER,
    telemetry.PRODUCER: trace.SpanKind.PRODUCER,
    telemetry.CONSUMER: trace.SpanKind.CONSUMER,
    telemetry.INTERNAL: trace.SpanKind.INTERNAL,
}
_propagator = TraceContextTextMapPropagator()


class OtlpSpan:
    """A span of the SDK."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, trace.set_span_in_context(span))
        self.traceparent = carrier[TRACEPARENT]

    def end(self, name: str, attributes: Attributes) -> None:
        """End it now."""
        self._span.update_name(name)
        self._span.set_attributes(dict(attributes))
        self._span.end()


class OtlpRecorder:
    """Sends spans in batches, from a thread of its own: no request waits for the endpoint, and spans are lost without it."""

    def __init__(self, endpoint: str, *, service: str, instance: str) -> None:
        """Spans have the names of the service and of the process."""
        resource = Resource.create({"service.name": service, "service.instance.id": instance})
        exporter = OTLPSpanExporter(endpoint=endpoint, timeout=TIMEOUT_SECONDS)
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_SECONDS * 1000))
        self._tracer = self._provider.get_tracer("payflow")

    def begin(self, parent: str | None, *, kind: str, started_ns: int) -> OtlpSpan | None:
        """Begin a span; a trace whose caller does not sample it is not recorded."""
        context = _propagator.extract({TRACEPARENT: parent}) if parent is not None else None
        span = self._tracer.start_span("", context=context, kind=_KINDS[kind], start_time=started_ns)
        return OtlpSpan(span) if span.is_recording() else None

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()
