"""Metrics of the canary."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

JOB = "canary"
"""Its name among the jobs: it succeeds with a completed transfer and an exact sum."""

TRANSFERS = Counter(
    "payflow_canary_transfers_total",
    "Transfers of the canary: completed, failed, late (not final in time), repeated (a second transfer for its key), error.",
    ["result"],
)
DURATION = Histogram(
    "payflow_canary_transfer_duration_seconds",
    "Seconds from the first request of a transfer to its outcome, as a client measures them.",
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30),
)
FUNDED = Gauge("payflow_canary_funded", "1 if the probe accounts have received their money.")
DIFFERENCE = Gauge(
    "payflow_canary_difference_minor_units",
    "What both probe accounts hold together, minus what was put in. Must be 0.",
)

for result in ("completed", "failed", "late", "repeated", "error"):
    TRANSFERS.labels(result)
