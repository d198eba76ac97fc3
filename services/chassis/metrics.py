"""Metrics of every service; those about transfers are defined by the service that owns them."""

from __future__ import annotations

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

BUILD = Gauge(
    "payflow_build_info",
    "Always 1: the version of this process, and the revision of the source it was built from.",
    ["version", "revision"],
)
HTTP_SECONDS = Histogram(
    "payflow_http_request_duration_seconds",
    "Time from the headers of the request to the last byte of its response; of a stream, to the first.",
    ["service", "route", "method", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)


@cache
def http_seconds(service: str, *, route: str, method: str, status: int) -> Histogram:
    """The durations of requests with these labels, all from closed sets."""
    return HTTP_SECONDS.labels(service, route, method, status)


CONNECTIONS_CUT = Counter(
    "payflow_connections_cut_total",
    "Connections closed because the client was too slow (silent, headers, response) or too many were open (limit).",
    ["service", "reason"],
)
UPSTREAM_SECONDS = Histogram(
    "payflow_upstream_call_duration_seconds",
    "Duration of one call to another service, by outcome.",
    ["service", "upstream", "outcome"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10),
)
BATCH_ITEMS = Histogram(
    "payflow_batch_items",
    "Items of one batch.",
    ["batch"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)
OUTBOX_UNPUBLISHED = Gauge("payflow_outbox_unpublished", "Commands and events without a confirm.", ["service"])
OUTBOX_LAG = Gauge("payflow_outbox_lag_seconds", "Age of the oldest command or event without a confirm.", ["service"])
OUTBOX_FAILURES = Counter(
    "payflow_outbox_publish_failures_total",
    "Publishes that were not confirmed: unroutable, refused, blocked by an alarm, timed out, or no broker.",
    ["service", "reason"],
)
QUEUE_MESSAGES = Gauge(
    "payflow_queue_messages",
    "Messages: ready (the count of the broker) or unacked (held by this consumer).",
    ["queue", "state"],
)
QUEUE_LEADERLESS = Gauge(
    "payflow_queue_leaderless",
    "1 while the broker responds to this process and the queue does not: the queue has no leader.",
    ["queue"],
)
DEAD_LETTERED = Counter(
    "payflow_dead_lettered_total",
    "Items this consumer moved to the dead-letter queue.",
    ["queue", "reason"],
)
DELAYED = Counter("payflow_delayed_total", "Items this consumer sent to a delay queue.", ["queue"])
JOB_LAST_SUCCESS = Gauge(
    "payflow_job_last_success_timestamp_seconds",
    "When the background job last succeeded, also with nothing to do (Unix time).",
    ["job"],
)
POOL_TIMEOUTS = Counter(
    "payflow_database_pool_timeouts_total",
    "Uses of the database that got no connection in time, because all connections of the pool were in use.",
)
