"""The faults between a block and the block before, each alone."""

from __future__ import annotations

from uuid import UUID

import pytest

from services.wallet import chain, seal
from services.wallet.chain import ChainReport
from services.wallet.seal import Block, Head, Members

BEFORE = Head(6, bytes(range(32)))
BLOCK = Block(
    number=7,
    version=seal.VERSION,
    previous=BEFORE.hash,
    sealed_at="1767355200000000",
    xid=1234,
    frontier=None,
    latest_at=None,
    outcomes=Members([UUID(int=1)], b"\1" * 32),
    accounts=Members([], b""),
)


def found(block: Block, hash_: bytes | None = None) -> list[str]:
    """The faults of a block after `BEFORE`; its hash is valid unless another is given."""
    findings = ChainReport(head=BEFORE)
    chain._follow(findings, block, hash_ or seal.block_hash(block))
    return findings.blocks


def test_a_genuine_block_follows() -> None:
    """It has no faults, and is the new head."""
    assert [] == found(BLOCK)


@pytest.mark.parametrize(
    ("block", "hash_", "said"),
    [
        (BLOCK._replace(number=8), None, "block 7 is missing"),
        (BLOCK._replace(previous=bytes(32)), None, "block 7 does not follow block 6"),
        (BLOCK._replace(version=seal.VERSION + 1), None, "block 7 has version 2, which is unknown"),
        (BLOCK, bytes(32), "block 7 does not match its hash"),
    ],
    ids=["number", "previous", "version", "hash"],
)
def test_each_fault_of_a_block_is_named(block: Block, hash_: bytes | None, said: str) -> None:
    """Guarantee 16: a block with a single fault is reported for this fault alone."""
    assert [said] == found(block, hash_)


def test_the_listed_faults_of_a_kind_are_limited() -> None:
    """However many faults there are, exactly the maximum is listed."""
    findings = ChainReport()
    for number in range(chain.FAULTS_MAX + 5):
        chain._add(findings.blocks, str(number))

    assert [str(number) for number in range(chain.FAULTS_MAX)] == findings.blocks
