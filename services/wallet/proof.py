"""The proof of the ledger: the invariants of all entries, balances, outcomes and blocks.

Each check reads a snapshot of its own (decision 0018): it is an invariant at every instant, and rows of the history never change.
Thus no transaction is longer than one check, and all rows that were written before the run began are checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import structlog

from services.chassis import database, replication
from services.chassis.database import DatabaseUnavailable, DataError, LockTimeout, Pool, Record
from services.wallet import chain, metrics, store
from services.wallet.chain import ChainReport
from services.wallet.seal import Head
from services.wallet.store import Check, Proof
from services.wallet.store_proof_run import Progress

DRIFT_SECONDS = 5.0

log = structlog.get_logger()

CHECKS = (
    "prove_entries_sum_to_zero",
    "prove_transfers_balance",
    "prove_balances_equal_entries",
    "prove_held_equals_holds",
    "prove_chains_unbroken",
    "prove_outcomes_equal_entries",
    "prove_admissions_audited",
)

OF_BLOCKS = (
    "blocks_unbroken",
    "recorded_blocks_present",
    "sealed_rows_unchanged",
    "nothing_came_late",
    "sealing_keeps_up",
)

CHECKS_TOTAL = len(CHECKS) + len(OF_BLOCKS)

IMPOSSIBLE = (DataError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What is raised by rows that no release writes: an amount so large that no sum exists, or a list in place of an id.

A check that cannot be made because of such rows has failed. As an error it would only stop the process.
"""


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
    checks = await _check_books(pool, Progress())
    return Proof(all(check.ok for check in checks), datetime.now(UTC), checks)


async def verify(
    pool: Pool, required: Head | None = None, *, whole: bool = True, progress: Progress | None = None
) -> Proof:
    """Run all checks, of the books and of the sealed blocks, with a role that may read all tables.

    Unless `whole`, blocks that an earlier run verified are not compared again, apart from the newest of them. After a run that
    failed, everything is. The newest block of the last stored run must still exist, and so must the `required` one of the caller.
    `progress` is updated after each step.

    Raises:
        DatabaseUnavailable
    """
    progress = progress or Progress()
    # Before every check: a failure that is stored later was not known to this run.
    async with database.snapshot(pool) as connection:
        last = await store.find_last_proof(connection)
        recorded = last.head if last else None
        verified = recorded if last is not None and last.ok and not whole else None
        start = await chain.find_start(connection, verified)
    checks = await _check_books(pool, progress)
    progress.current = OF_BLOCKS[0]
    heads = [head for head in (recorded, required) if head is not None]
    report = await _examine(pool, heads, after=start, progress=progress)
    checks += _checks_of_blocks(report, start)
    async with database.snapshot(pool) as connection:
        # This may be another server than the one that was read.
        if report.head is not None and not report.lost and not await store.has_block(connection, report.head):
            raise DatabaseUnavailable("the newest block was lost during the run")
        # Callers record the head: a failover must not lose it.
        await replication.await_replication(connection)
    progress.checks_done = len(checks)
    # A lost head stays recorded: otherwise the next run would accept the forged chain.
    head = recorded if report.lost else report.head
    proof = Proof(all(check.ok for check in checks), datetime.now(UTC), checks, head, last.at if last else None)
    metrics.PROVED.set(proof.ok)
    if not proof.ok:
        log.error("ledger_proof_failed", checks=[check.name for check in checks if not check.ok])
    return proof


async def _examine(pool: Pool, heads: Sequence[Head], *, after: Head | None, progress: Progress) -> ChainReport:
    try:
        return await chain.examine(pool, heads, after=after, progress=progress)
    except IMPOSSIBLE as error:
        log.exception("blocks_not_examined")
        # Nothing is known about the recorded blocks either: they stay recorded.
        return ChainReport(blocks=[_cannot_be_made(error)], lost=["not examined"])


def _cannot_be_made(error: Exception) -> str:
    return f"the check cannot be made: {type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _checks_of_blocks(report: ChainReport, start: Head | None) -> list[Check]:
    return [
        _check("blocks_unbroken", report.blocks, passed=f"from block {start.number + 1 if start else 1}"),
        _check("recorded_blocks_present", report.lost),
        _check("sealed_rows_unchanged", report.altered),
        _check("nothing_came_late", report.late),
        _check("sealing_keeps_up", report.waiting),
    ]


async def _check_books(pool: Pool, progress: Progress) -> list[Check]:
    checks = []
    for statement in CHECKS:
        progress.current = statement.removeprefix("prove_")
        checks.append(_check(progress.current, await _list_violations(pool, statement)))
        progress.checks_done += 1
    async with database.snapshot(pool) as connection:
        _observe_drift(await store.read_balance_sheet(connection))
    return checks


async def _list_violations(pool: Pool, statement: str) -> list[str]:
    try:
        async with database.snapshot(pool) as connection:
            rows = await store.list_violations(connection, statement)
    except IMPOSSIBLE as error:
        return [_cannot_be_made(error)]
    return [", ".join(f"{name} {value}" for name, value in row.items()) for row in rows]


def _check(name: str, faults: Sequence[str], *, passed: str = "") -> Check:
    return Check(name, not faults, "; ".join(faults) or passed)


def _observe_drift(sheet: Iterable[Record]) -> None:
    # A currency whose last account was removed is in no later sheet: its drift would be reported until the process restarts.
    metrics.DRIFT.clear()
    for row in sheet:
        metrics.DRIFT.labels(row["currency"]).set(row["sum"])
