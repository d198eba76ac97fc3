"""The series of transfers and their queue."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

ACCEPTED = Counter("payflow_transfers_accepted_total", "Transfers recorded as PENDING.", ["kind"])
FINALIZED = Counter("payflow_transfers_total", "Transfers that reached their outcome.", ["kind", "outcome"])
DURATION = Histogram(
    "payflow_transfer_duration_seconds",
    "From accepted to terminal.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 90, 120),
)
INTAKE = Counter("payflow_intake_total", "What became of transfers at the gateway of this service.", ["result"])
CONFLICTED = Counter(
    "payflow_transfer_conflicts_total", "Transfers the wallet knows with another request. Must stay 0."
)
