"""Metrics of the ledger."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

BATCH = Histogram(
    "payflow_ledger_batch_size",
    "Transfers decided in one database transaction.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
)
DECIDED = Counter("payflow_ledger_outcomes_total", "Outcomes returned, by kind (repeats included).", ["outcome"])
CONFLICTS = Counter("payflow_outcome_conflicts_total", "Transfer ids sent again with another request. Must stay 0.")
DRIFT = Gauge("payflow_ledger_drift_minor_units", "The sum of all entries of a currency. Must be 0.", ["currency"])
PROVED = Gauge("payflow_ledger_proof_ok", "1 if the last proof of the ledger passed.")
SEAL_LAG = Gauge(
    "payflow_seal_lag_seconds",
    "How long outcomes may be unsealed: time since everything found was sealed.",
)
SEALED_BLOCKS = Counter("payflow_sealed_blocks_total", "Blocks sealed by this process.")
SEAL_HEAD = Gauge("payflow_seal_head_number", "The number of the newest block.")
