"""Metrics of transfers and their queue."""

from __future__ import annotations

import collections
import time
from collections.abc import Iterable, Sequence

from prometheus_client import Counter, Histogram

from services.chassis.database import Record
from services.contracts.money import TEST_CURRENCY
from services.transaction.expectation import Completions

ACCEPTED = Counter("payflow_transfers_accepted_total", "Transfers recorded as PENDING.", ["kind"])
FINALIZED = Counter("payflow_transfers_total", "Transfers that reached an outcome.", ["kind", "outcome"])
DURATION = Histogram(
    "payflow_transfer_duration_seconds",
    "Seconds from acceptance to the outcome.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 90, 120),
)
MOVED = Counter(
    "payflow_money_moved_minor_units_total",
    "Money of completed transfers, in minor units; without that of the canary.",
    ["kind", "currency"],
)
HOP_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
PUBLISH_WAIT = Histogram(
    "payflow_transfer_publish_seconds",
    "Seconds from acceptance to the publish, of the oldest transfer of each message.",
    buckets=HOP_BUCKETS,
)
PICKUP_WAIT = Histogram(
    "payflow_transfer_pickup_seconds", "Seconds from the publish of a message to a worker.", buckets=HOP_BUCKETS
)
INTAKE = Counter("payflow_intake_total", "Requests to create a transfer, by result.", ["result"])
EXPECTED_ERROR = Histogram(
    "payflow_expected_completion_error_seconds",
    "Seconds from the expected completion of a transfer (expected_by) to its outcome; above 0 it came later than expected.",
    buckets=(-60, -30, -10, -5, -2, -1.9, -1.5, -1, -0.5, 0, 0.5, 1, 2, 5, 10, 30, 60),
)
COMPLETIONS = Completions()
"""Of this process."""

CONFLICTED = Counter(
    "payflow_transfer_conflicts_total", "Transfers that the wallet knows with another request. Must stay 0."
)


def count_results(results: Iterable[str]) -> None:
    """Count the results of a batch of requests: each counter is increased once."""
    for result, count in collections.Counter(results).items():
        INTAKE.labels(result).inc(count)


def count_accepted(kinds: Iterable[str]) -> None:
    """Count the transfers of a batch by kind."""
    for kind, count in collections.Counter(kinds).items():
        ACCEPTED.labels(kind).inc(count)


def count_finalized(rows: Sequence[Record]) -> None:
    """Count transfers that have their outcome, and measure how long it took."""
    for (kind, code), count in collections.Counter((row["kind"], row["failure_code"]) for row in rows).items():
        FINALIZED.labels(kind, code or "completed").inc(count)
    now, monotonic = time.time(), time.monotonic()
    moved: collections.Counter[tuple[str, str]] = collections.Counter()
    for row in rows:
        seconds = max(0.0, now - row["created_at"].timestamp())
        DURATION.observe(seconds)
        COMPLETIONS.add(seconds, now=monotonic)
        if row["expected_by"] is not None:
            EXPECTED_ERROR.observe(now - row["expected_by"].timestamp())
        if row["failure_code"] is None and row["currency"] != TEST_CURRENCY:
            moved[row["kind"], row["currency"]] += row["amount"]
    for (kind, currency), amount in moved.items():
        MOVED.labels(kind, currency).inc(amount)
