"""The proof of the ledger: what must hold over all entries, balances, outcomes and blocks, checked in one snapshot."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import structlog

from services.chassis import database, replication
from services.chassis.database import Connection, DatabaseUnavailable, LockTimeout, Pool, Record
from services.wallet import chain, metrics, store
from services.wallet.seal import Head
from services.wallet.store import Check, Proof

DRIFT_SECONDS = 5.0

log = structlog.get_logger()

CHECKS = (
    "prove_entries_sum_to_zero",
    "prove_transfers_balance",
    "prove_balances_equal_entries",
    "prove_chains_unbroken",
    "prove_outcomes_equal_entries",
)


async def watch_drift(pool: Pool) -> None:
    """Keep the drift gauge true between proofs: what all balances of a currency sum to, every few seconds."""
    while True:
        try:
            async with database.snapshot(pool) as connection:
                _observe_drift(await store.read_balance_sheet(connection))
        except (DatabaseUnavailable, LockTimeout):
            log.debug("drift_not_measured")
        await asyncio.sleep(DRIFT_SECONDS)


async def prove(pool: Pool) -> Proof:
    """Run the checks of the books on a role that may read all. Reads everything: seconds on a large ledger.

    Raises:
        DatabaseUnavailable
    """
    async with database.snapshot(pool) as connection:
        checks = await _check_books(connection)
    return Proof(all(check.ok for check in checks), datetime.now(UTC), checks)


async def verify(pool: Pool, asked: Head | None = None) -> Proof:
    """Run all checks, those of the books and those of the sealed blocks, on a role that may read all.

    The newest block of the last round that was kept must still be there; so must the one `asked` for, noted by somebody.

    Raises:
        DatabaseUnavailable
    """
    async with database.snapshot(pool) as connection:
        last = await store.find_last_proof(connection)
        noted = last.head if last else None
        checks = await _check_books(connection)
        findings = await chain.examine(connection, [head for head in (noted, asked) if head is not None])
        checks += [
            _check("blocks_unbroken", findings.blocks),
            _check("noted_blocks_there", findings.noted),
            _check("sealed_rows_unchanged", findings.altered),
            _check("nothing_came_late", findings.late),
            _check("sealing_keeps_up", findings.waiting),
        ]
        # The head is noted by those who read it: a failover must not lose it.
        await replication.await_replication(connection)
    # A head that was lost stays noted: else the next round would take the forged chain for granted.
    head = noted if findings.noted else findings.head
    proof = Proof(all(check.ok for check in checks), datetime.now(UTC), checks, head)
    metrics.PROVED.set(proof.ok)
    if not proof.ok:
        log.error("ledger_proof_failed", checks=[check.name for check in checks if not check.ok])
    return proof


async def _check_books(connection: Connection) -> list[Check]:
    checks = []
    for statement in CHECKS:
        rows = await store.broken(connection, statement)
        told = [", ".join(f"{name} {value}" for name, value in row.items()) for row in rows]
        checks.append(_check(statement.removeprefix("prove_"), told))
    _observe_drift(await store.read_balance_sheet(connection))
    return checks


def _check(name: str, faults: Sequence[str]) -> Check:
    return Check(name, not faults, "; ".join(faults))


def _observe_drift(sheet: Iterable[Record]) -> None:
    for row in sheet:
        metrics.DRIFT.labels(row["currency"]).set(row["sum"])
