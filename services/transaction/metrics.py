"""Metrics of transfers and their queue."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

ACCEPTED = Counter("payflow_transfers_accepted_total", "Transfers recorded as PENDING.", ["kind"])
FINALIZED = Counter("payflow_transfers_total", "Transfers that reached an outcome.", ["kind", "outcome"])
DURATION = Histogram(
    "payflow_transfer_duration_seconds",
    "Seconds from acceptance to the outcome.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 90, 120),
)
INTAKE = Counter("payflow_intake_total", "Requests to create a transfer, by result.", ["result"])
CONFLICTED = Counter(
    "payflow_transfer_conflicts_total", "Transfers that the wallet knows with another request. Must stay 0."
)
