"""Spans of one transfer across all processes, if an OTLP endpoint is configured. Otherwise nothing is imported or recorded.

Each hop records one span for each item of its batch, under the trace context that the item carries since the gateway.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from services.chassis import tracing

Result = TypeVar("Result")
Attributes = Mapping[str, str | int]
TRANSFER_ID = "payflow.transfer_id"
"""The attribute by which the spans of a transfer are found."""

EDGE = "gateway"
"""The service in which traces begin."""

SERVER, PRODUCER, CONSUMER, INTERNAL = "server", "producer", "consumer", "internal"


class Span(Protocol):
    """A span that has begun."""

    @property
    def traceparent(self) -> str:
        """The trace context of what belongs to it."""

    def end(self, name: str, attributes: Attributes) -> None:
        """End it now."""


class Recorder(Protocol):
    """Sends spans."""

    def begin(self, parent: str | None, *, kind: str, started_ns: int) -> Span | None:
        """Begin a span, without a parent that of a new trace; None if its trace is not recorded."""

    def close(self) -> None:
        """Send what is left."""


class Item(NamedTuple):
    """One item of a batch: the trace context that it carries, and its attributes."""

    traceparent: str | None
    attributes: Attributes


recorder: Recorder | None = None
"""Set once, at the start of a role; None: spans are off."""


def configure(endpoint: str, *, service: str, instance: str) -> None:
    """Send spans to `endpoint`, an OTLP endpoint over HTTP.

    Raises:
        ImportError: the extra `otel` is not installed.
    """
    global recorder  # noqa: PLW0603 - one per process
    from services.chassis.otlp import OtlpRecorder  # noqa: PLC0415 - not loaded unless it is used

    recorder = OtlpRecorder(endpoint, service=service, instance=instance)


def close() -> None:
    """Send what is left, at most for a moment."""
    if recorder is not None:
        recorder.close()


def begin_request(headers: Mapping[str, str], *, is_edge: bool) -> Span | None:
    """Begin the span of a request whose ids are bound; what it causes belongs to it. A new trace begins only at the edge."""
    if recorder is None:
        return None
    parent = headers.get(tracing.TRACEPARENT)
    if parent != tracing.traceparent():
        parent = None  # it was not valid, or there is none
    if parent is None and not is_edge:
        return None
    span = recorder.begin(parent, kind=SERVER, started_ns=time.time_ns())
    if span is not None:
        tracing.bind_traceparent(span.traceparent)
    return span


def end_request(span: Span, method: str, route: str, *, status: int) -> None:
    """End the span of a request."""
    span.end(
        f"{method} {route}",
        {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "payflow.request_id": tracing.request_id(),
        },
    )


def record(name: str, items: Iterable[Item], *, kind: str, started_ns: int) -> list[str | None]:
    """Record a span of each item from `started_ns` (Unix time) until now; the trace context of each span."""
    contexts: list[str | None] = []
    for item in items:
        span = None
        if recorder is not None and item.traceparent is not None:
            span = recorder.begin(item.traceparent, kind=kind, started_ns=started_ns)
        if span is not None:
            span.end(name, item.attributes)
        contexts.append(None if span is None else span.traceparent)
    return contexts


def traced(
    queue: str, handle: Callable[[Sequence[Any]], Awaitable[Result]]
) -> Callable[[Sequence[Any]], Awaitable[Result]]:
    """A handler of deliveries that also records a span of each item; the same handler if spans are off."""
    if recorder is None:
        return handle

    async def recorded(window: Sequence[Any]) -> Result:
        started_ns = time.time_ns()
        result = await handle(window)
        items = [Item(it.item.traceparent, {TRANSFER_ID: str(it.item.transfer_id)}) for it in window]
        record(f"process {queue}", items, kind=CONSUMER, started_ns=started_ns)
        return result

    return recorded
