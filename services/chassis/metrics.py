"""The series that every service has; those about transfers stand in the service that owns them."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

HTTP_SECONDS = Histogram(
    "payflow_http_request_duration_seconds",
    "Time from the request's headers to the last byte of its answer; of a stream, to its first.",
    ["service", "route", "method", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
CONNECTIONS_CUT = Counter(
    "payflow_connections_cut_total",
    "Connections ended because the client was too slow (silent, headers, answer) or too many were open (crowd).",
    ["service", "reason"],
)
UPSTREAM_SECONDS = Histogram(
    "payflow_upstream_call_duration_seconds",
    "Time of one call to another service, by how it ended.",
    ["service", "upstream", "outcome"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10),
)
BATCH_ITEMS = Histogram(
    "payflow_batch_items",
    "How many items one natural batch carried.",
    ["batch"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
)
OUTBOX_UNPUBLISHED = Gauge("payflow_outbox_unpublished", "Outbox rows that no confirm covers yet.", ["service"])
OUTBOX_LAG = Gauge("payflow_outbox_lag_seconds", "Age of the oldest unpublished outbox row.", ["service"])
OUTBOX_FAILURES = Counter(
    "payflow_outbox_publish_failures_total",
    "Publishes that were not confirmed: unroutable, refused, blocked by an alarm, timed out, or no broker.",
    ["service", "reason"],
)
QUEUE_MESSAGES = Gauge(
    "payflow_queue_messages",
    "Messages, ready (the broker's figure) or unacked (what this consumer has in hand).",
    ["queue", "state"],
)
QUEUE_SILENT = Gauge(
    "payflow_queue_silent",
    "1 while the broker answers this process and the queue does not: the queue has no leader.",
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
    "When the periodic job last ended well (Unix time).",
    ["job"],
)
