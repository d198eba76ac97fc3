"""The check of the sealed blocks: the chain is unbroken, and every row is unchanged since it was sealed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from services.chassis import database
from services.chassis.database import Connection, Pool
from services.wallet import seal, store
from services.wallet.seal import Block, Head
from services.wallet.store_proof_run import Progress

ROWS = 20_000
"""Rows compared at a time: one or two megabytes, however long the chain is."""

REPEATED_ROWS = 200_000
"""Rows that every run compares again, although an earlier one did: some seconds, and everything in a small ledger."""

FAULTS_MAX = 20
"""The most faults of one kind that are listed."""

OUTCOME_GRACE = timedelta(seconds=30)
ACCOUNT_GRACE = timedelta(minutes=10)
"""Longer, because accounts are scanned rarely."""


async def find_start(connection: Connection, verified: Head | None) -> Head | None:
    """The block after which a run that does not examine everything begins; None: examine everything.

    `verified` is the newest block of the last run that passed. Its last rows are compared again.
    """
    if verified is None or not await store.has_block(connection, verified):
        return None
    return await store.find_block_before_rows(connection, verified, REPEATED_ROWS)


@dataclass(slots=True)
class ChainReport:
    """The faults by kind, each as text that names the block, transfer or account; and the newest block."""

    head: Head | None = None
    blocks: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)


async def examine(
    pool: Pool, recorded: Iterable[Head], *, after: Head | None = None, progress: Progress | None = None
) -> ChainReport:
    """Compare blocks with the block before and with their rows, and find unsealed rows. `recorded` blocks must exist.

    Those `after` a block, or all, up to the newest. Each part is compared in a snapshot of its own, so that no transaction is
    long: blocks, and the rows that they list, never change.
    """
    report = ChainReport(head=after)
    progress = progress or Progress()
    async with database.snapshot(pool) as connection:
        progress.blocks_total = await store.count_blocks(connection, after.number if after else 0)
    while await _examine_part(pool, report, progress):
        pass
    async with database.snapshot(pool) as connection:
        await store.prefer_indexes(connection)
        for head in recorded:
            if not await store.has_block(connection, head):
                report.lost.append(f"block {head.number} with hash {head.hash.hex()} is missing")
        await _find_unsealed(connection, report)
    return report


async def _examine_part(pool: Pool, report: ChainReport, progress: Progress) -> bool:
    """Compare the next blocks; False if there are none."""
    async with database.snapshot(pool) as connection:
        await store.prefer_indexes(connection)
        blocks = await store.list_blocks(connection, report.head.number if report.head else 0, ROWS)
        for block, hash_ in blocks:
            _follow(report, block, hash_)
        await _compare(connection, report, [block for block, _ in blocks])
    progress.blocks_done += len(blocks)
    progress.blocks_total = max(progress.blocks_total or 0, progress.blocks_done)
    return bool(blocks)


async def _find_unsealed(connection: Connection, report: ChainReport) -> None:
    """Find outcomes and accounts that should be in a block."""
    for overdue in await store.list_overdue(connection, OUTCOME_GRACE):
        if overdue.late:
            report.late.append(f"transfer {overdue.transfer_id} of {overdue.at} appeared after its time was sealed")
        else:
            report.waiting.append(f"transfer {overdue.transfer_id} of {overdue.at} is in no block")
    for account_id in await store.list_overdue_accounts(connection, ACCOUNT_GRACE):
        report.waiting.append(f"account {account_id} is in no block")


def _follow(report: ChainReport, block: Block, hash_: bytes) -> None:
    """Check the next block of the chain; it becomes the head."""
    number, previous = report.head or (0, seal.BEFORE_FIRST)
    if block.number != number + 1:
        _add(report.blocks, f"block {number + 1} is missing")
    elif block.previous != previous:
        _add(report.blocks, f"block {block.number} does not follow block {number}")
    if block.version != seal.VERSION:
        _add(report.blocks, f"block {block.number} has version {block.version}, which is unknown")
    elif seal.block_hash(block) != hash_:
        _add(report.blocks, f"block {block.number} does not match its hash")
    report.head = Head(block.number, hash_)


async def _compare(connection: Connection, report: ChainReport, blocks: Sequence[Block]) -> None:
    """Compare all rows of these blocks with their digests, each kind in one statement."""
    outcome_ids = [id_ for block in blocks for id_ in block.outcomes.ids]
    account_ids = [id_ for block in blocks for id_ in block.accounts.ids]
    outcomes = await store.digest_outcomes(connection, outcome_ids)
    accounts = await store.digest_accounts(connection, account_ids) if account_ids else b""
    for block in blocks:
        size = len(block.outcomes.ids) * seal.DIGEST_BYTES
        _name(report, "transfer", block, seal.differing(block.outcomes, outcomes[:size]))
        outcomes = outcomes[size:]
        size = len(block.accounts.ids) * seal.DIGEST_BYTES
        _name(report, "account", block, seal.differing(block.accounts, accounts[:size]))
        accounts = accounts[size:]


def _name(report: ChainReport, kind: str, block: Block, differing: Iterable[tuple[UUID, bool]]) -> None:
    for id_, gone in differing:
        verdict = "is missing" if gone else "has changed since it was sealed"
        _add(report.altered, f"{kind} {id_} of block {block.number} {verdict}")


def _add(faults: list[str], fault: str) -> None:
    if len(faults) < FAULTS_MAX:
        faults.append(fault)
