"""The proof of the ledger: the invariants of all entries, balances, outcomes and blocks, checked in one snapshot."""

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
    "prove_held_equals_holds",
    "prove_chains_unbroken",
    "prove_outcomes_equal_entries",
)


async def watch_drift(pool: Pool) -> None:
    """Update the drift gauge between proofs: the sum of all balances of a currency, every few seconds."""
    while True:
        try:
            async with database.snapshot(pool) as connection:
                _observe_drift(await store.read_balance_sheet(connection))
        except (DatabaseUnavailable, LockTimeout):
            log.debug("drift_not_measured")
        await asyncio.sleep(DRIFT_SECONDS)


async def prove(pool: Pool) -> Proof:
    """Run the checks of the books with a role that may read all tables. It reads everything: seconds on a large ledger.

    Raises:
        DatabaseUnavailable
    """
    async with database.snapshot(pool) as connection:
        checks = await _check_books(connection)
    return Proof(all(check.ok for check in checks), datetime.now(UTC), checks)


async def verify(pool: Pool, required: Head | None = None, *, whole: bool = True) -> Proof:
    """Run all checks, of the books and of the sealed blocks, with a role that may read all tables.

    Unless `whole`, blocks that an earlier run verified are not compared again, apart from the newest of them. After a run that
    failed, everything is. The newest block of the last stored run must still exist, and so must the `required` one of the caller.

    Raises:
        DatabaseUnavailable
    """
    async with database.snapshot(pool) as connection:
        last = await store.find_last_proof(connection)
        recorded = last.head if last else None
        checks = await _check_books(connection)
        verified = recorded if last is not None and last.ok and not whole else None
        start = await chain.find_start(connection, verified)
        heads = [head for head in (recorded, required) if head is not None]
        report = await chain.examine(connection, heads, after=start)
        checks += [
            _check("blocks_unbroken", report.blocks, passed=f"from block {start.number + 1 if start else 1}"),
            _check("recorded_blocks_present", report.lost),
            _check("sealed_rows_unchanged", report.altered),
            _check("nothing_came_late", report.late),
            _check("sealing_keeps_up", report.waiting),
        ]
        # Callers record the head: a failover must not lose it.
        await replication.await_replication(connection)
    # A lost head stays recorded: otherwise the next run would accept the forged chain.
    head = recorded if report.lost else report.head
    proof = Proof(all(check.ok for check in checks), datetime.now(UTC), checks, head, last.at if last else None)
    metrics.PROVED.set(proof.ok)
    if not proof.ok:
        log.error("ledger_proof_failed", checks=[check.name for check in checks if not check.ok])
    return proof


async def _check_books(connection: Connection) -> list[Check]:
    checks = []
    for statement in CHECKS:
        rows = await store.list_violations(connection, statement)
        violations = [", ".join(f"{name} {value}" for name, value in row.items()) for row in rows]
        checks.append(_check(statement.removeprefix("prove_"), violations))
    _observe_drift(await store.read_balance_sheet(connection))
    return checks


def _check(name: str, faults: Sequence[str], *, passed: str = "") -> Check:
    return Check(name, not faults, "; ".join(faults) or passed)


def _observe_drift(sheet: Iterable[Record]) -> None:
    for row in sheet:
        metrics.DRIFT.labels(row["currency"]).set(row["sum"])
