"""The proof of the ledger: what must hold over all entries, balances and outcomes, checked in one snapshot."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

import structlog

from services.chassis import database
from services.chassis.database import DatabaseAway, LockTimeout, Pool, Record
from services.wallet import metrics, store

DRIFT_SECONDS = 5.0

log = structlog.get_logger()

CHECKS = (
    "prove_entries_sum_to_zero",
    "prove_transfers_balance",
    "prove_balances_equal_entries",
    "prove_chains_unbroken",
    "prove_outcomes_equal_entries",
)


class Check(NamedTuple):
    """One statement about the whole ledger, and the rows that contradict it, as text."""

    name: str
    ok: bool
    detail: str


class Proof(NamedTuple):
    """A round of checks over one snapshot."""

    ok: bool
    at: datetime
    checks: list[Check]


async def watch_drift(pool: Pool) -> None:
    """Keep the drift gauge true between proofs: what all balances of a currency sum to, every few seconds."""
    while True:
        try:
            async with database.snapshot(pool) as connection:
                _observe_drift(await store.read_balance_sheet(connection))
        except (DatabaseAway, LockTimeout):
            log.debug("drift_not_measured")
        await asyncio.sleep(DRIFT_SECONDS)


async def prove(pool: Pool) -> Proof:
    """Run every check on the read-only role's pool. Reads everything: seconds on a large ledger.

    Raises:
        DatabaseAway
    """
    checks = []
    async with database.snapshot(pool) as connection:
        for statement in CHECKS:
            rows = await store.broken(connection, statement)
            detail = "; ".join(", ".join(f"{name} {value}" for name, value in row.items()) for row in rows)
            checks.append(Check(statement.removeprefix("prove_"), not rows, detail))
        sheet = await store.read_balance_sheet(connection)
    _observe_drift(sheet)
    proof = Proof(all(check.ok for check in checks), datetime.now(UTC), checks)
    metrics.PROVED.set(proof.ok)
    if not proof.ok:
        log.error("ledger_proof_failed", checks=[check.name for check in checks if not check.ok])
    return proof


def _observe_drift(sheet: Iterable[Record]) -> None:
    for row in sheet:
        metrics.DRIFT.labels(row["currency"]).set(row["sum"])
