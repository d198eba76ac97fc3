"""The walk along the sealed blocks: whether they are unbroken, and whether every row is still what was sealed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from services.chassis.database import Connection
from services.wallet import seal, store
from services.wallet.seal import Block, Head

ROWS = 20_000
"""How many rows are compared at a time: a megabyte or two, however long the chain is."""

FAULTS_MAX = 20
"""How many faults of a kind are named; one is enough to know."""

OUTCOME_PATIENCE = timedelta(seconds=30)
ACCOUNT_PATIENCE = timedelta(minutes=10)
"""Accounts are looked through seldom."""


@dataclass(slots=True)
class Findings:
    """What is wrong, by kind, each as text that names the block, transfer or account; and the newest block."""

    head: Head | None = None
    blocks: list[str] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)


async def examine(connection: Connection, noted: Iterable[Head]) -> Findings:
    """Compare every block with the one before and with its rows, and find what is in no block. `noted` blocks must be there.

    The connection must see one instant. Reads everything, a part at a time.
    """
    findings = Findings()
    await store.prefer_indexes(connection)
    while blocks := await store.list_blocks(connection, findings.head.number if findings.head else 0, ROWS):
        for block, hash_ in blocks:
            _follow(findings, block, hash_)
        await _compare(connection, findings, [block for block, _ in blocks])
    for head in noted:
        if not await store.has_block(connection, head):
            findings.noted.append(f"block {head.number} with hash {head.hash.hex()} is not there any more")
    for left in await store.list_left_out(connection, OUTCOME_PATIENCE):
        if left.late:
            findings.late.append(f"transfer {left.transfer_id} of {left.at} appeared after its time was closed")
        else:
            findings.waiting.append(f"transfer {left.transfer_id} of {left.at} is in no block")
    for account_id in await store.list_accounts_left_out(connection, ACCOUNT_PATIENCE):
        findings.waiting.append(f"account {account_id} is in no block")
    return findings


def _follow(findings: Findings, block: Block, hash_: bytes) -> None:
    """The next block of the chain; it becomes the head."""
    number, previous = findings.head or (0, seal.BEFORE_FIRST)
    if block.number != number + 1:
        _note(findings.blocks, f"block {number + 1} is missing")
    elif block.previous != previous:
        _note(findings.blocks, f"block {block.number} does not follow block {number}")
    if block.version != seal.VERSION:
        _note(findings.blocks, f"block {block.number} has version {block.version}, which nobody writes")
    elif seal.block_hash(block) != hash_:
        _note(findings.blocks, f"block {block.number} is not what its hash was made of")
    findings.head = Head(block.number, hash_)


async def _compare(connection: Connection, findings: Findings, blocks: Sequence[Block]) -> None:
    """Look at every row of these blocks again, all of a kind in one statement."""
    outcome_ids = [id_ for block in blocks for id_ in block.outcomes.ids]
    account_ids = [id_ for block in blocks for id_ in block.accounts.ids]
    outcomes = await store.digest_outcomes(connection, outcome_ids)
    accounts = await store.digest_accounts(connection, account_ids) if account_ids else b""
    for block in blocks:
        size = len(block.outcomes.ids) * seal.DIGEST_BYTES
        _name(findings, "transfer", block, seal.differing(block.outcomes, outcomes[:size]))
        outcomes = outcomes[size:]
        size = len(block.accounts.ids) * seal.DIGEST_BYTES
        _name(findings, "account", block, seal.differing(block.accounts, accounts[:size]))
        accounts = accounts[size:]


def _name(findings: Findings, kind: str, block: Block, differing: Iterable[tuple[UUID, bool]]) -> None:
    for id_, gone in differing:
        verdict = "is gone" if gone else "is not what was sealed"
        _note(findings.altered, f"{kind} {id_} of block {block.number} {verdict}")


def _note(faults: list[str], fault: str) -> None:
    if len(faults) < FAULTS_MAX:
        faults.append(fault)
