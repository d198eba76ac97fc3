"""The series of the ledger."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

BATCH = Histogram(
    "payflow_ledger_batch_size",
    "Transfers decided in one database transaction.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
)
DECIDED = Counter("payflow_ledger_outcomes_total", "Outcomes told, by kind (repeats included).", ["outcome"])
CONFLICTS = Counter(
    "payflow_outcome_conflicts_total", "Transfer ids that came again with another request. Must stay 0."
)
DRIFT = Gauge("payflow_ledger_drift_minor_units", "What all entries of a currency sum to. Must be 0.", ["currency"])
PROVED = Gauge("payflow_ledger_proof_ok", "1 when the last proof of the ledger held.")
SEAL_LAG = Gauge(
    "payflow_seal_lag_seconds",
    "For how long there may be outcomes in no block: time since all that was found was sealed.",
)
SEALED_BLOCKS = Counter("payflow_sealed_blocks_total", "Blocks sealed by this process.")
SEAL_HEAD = Gauge("payflow_seal_head_number", "The number of the newest block.")
