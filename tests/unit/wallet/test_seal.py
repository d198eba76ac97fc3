"""Which outcomes a block covers, and what its hash covers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from services.wallet import seal
from services.wallet.seal import Block, Head, Members, State

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
BLOCK = Block(
    number=7,
    version=1,
    previous=bytes(range(32)),
    sealed_at=str(seal.microseconds(NOON)),
    xid=1234,
    frontier=None,
    latest_at=str(seal.microseconds(NOON - timedelta(microseconds=1))),
    outcomes=Members([UUID(int=1), UUID(int=2)], b"\1" * 32 + b"\2" * 32),
    accounts=Members([UUID(int=3)], b"\3" * 32),
)
GOLDEN = "002de0096a0405a533d8e85fae0c780ae2f7b21bc4664309f2d33e28c3921459"


def state(**changes: Any) -> State:
    return State(now=NOON, finalized_at=NOON - timedelta(seconds=1), head=None, sealed_at=NOON, frontier=None)._replace(
        **changes
    )


def test_the_hash_of_a_block_is_frozen() -> None:
    """A recorded hash must remain valid with every later version: the hashed bytes never change."""
    line = f'[1,7,"{BLOCK.previous.hex()}","1767355200000000",1234,null,"1767355199999999",2,64,1,32]\n'
    ids = [bytes(15) + bytes([last]) for last in (1, 2, 3)]
    content = line.encode() + ids[0] + ids[1] + b"\1" * 32 + b"\2" * 32 + ids[2] + b"\3" * 32

    assert sha256(content).hexdigest() == seal.block_hash(BLOCK).hex() == GOLDEN


@pytest.mark.parametrize(
    "changed",
    [
        BLOCK._replace(number=8),
        BLOCK._replace(version=2),
        BLOCK._replace(previous=bytes(32)),
        BLOCK._replace(sealed_at="1767355200000001"),
        BLOCK._replace(xid=1235),
        BLOCK._replace(frontier="1767355199999999"),
        BLOCK._replace(latest_at=None),
        BLOCK._replace(outcomes=BLOCK.outcomes._replace(digests=b"\1" * 64)),
        BLOCK._replace(outcomes=Members(BLOCK.outcomes.ids[::-1], BLOCK.outcomes.digests)),
        BLOCK._replace(accounts=BLOCK.outcomes, outcomes=BLOCK.accounts),
        BLOCK._replace(accounts=Members([], b""), outcomes=Members([*BLOCK.outcomes.ids, UUID(int=3)], b"\1" * 96)),
    ],
)
def test_every_part_of_a_block_is_hashed(changed: Block) -> None:
    """No part can be altered, omitted or moved to another one."""
    assert seal.block_hash(BLOCK) != seal.block_hash(changed)


def test_only_differing_rows_are_listed() -> None:
    """Altered and missing rows, in the order of the block; none if all are unchanged."""
    members = Members([UUID(int=number) for number in range(4)], bytes([1] * 32 + [2] * 32 + [3] * 32 + [4] * 32))
    found = bytes([1] * 32 + [9] * 32 + [0] * 32 + [4] * 32)

    assert [(UUID(int=1), False), (UUID(int=2), True)] == list(seal.differing(members, found))
    assert [] == list(seal.differing(members, members.digests))


def test_the_frontier_excludes_rows_that_may_still_appear() -> None:
    """The frontier is before the last block that precedes all running transactions, and before outcomes that were left."""
    assert None is seal.close(state(finalized_at=None), thorough=True, unread_from=NOON)
    assert NOON - timedelta(seconds=1) - seal.SLACK == seal.close(state(), thorough=True, unread_from=None)
    assert NOON - timedelta(hours=1) == seal.close(state(), thorough=True, unread_from=NOON - timedelta(hours=1))
    # The clock was set back: times that it may return again are not covered.
    assert NOON - seal.SLACK == seal.close(
        state(finalized_at=NOON + timedelta(hours=1)), thorough=True, unread_from=None
    )


def test_new_rows_are_searched_from_the_frontier_on() -> None:
    """Everything the first time; then from the frontier on; from the present if the clock was set back."""
    assert None is seal.scan_from(state(), thorough=True)
    assert NOON - timedelta(days=1) == seal.scan_from(state(frontier=NOON - timedelta(days=1)), thorough=True)
    assert NOON - seal.SLACK == seal.scan_from(state(frontier=NOON + timedelta(hours=1)), thorough=True)


def test_a_quick_pass_does_not_move_the_frontier() -> None:
    """It scans from the last block on, and does not move the frontier."""
    frontier = NOON - timedelta(hours=1)
    quick = state(frontier=frontier, sealed_at=NOON - timedelta(seconds=2))

    assert NOON - timedelta(seconds=2) - seal.OVERLAP == seal.scan_from(quick, thorough=False)
    assert frontier == seal.close(quick, thorough=False, unread_from=None)
    assert None is seal.scan_from(state(), thorough=False)


def test_a_head_is_formatted_and_parsed() -> None:
    """`NUMBER:HASH`, and nothing else."""
    head = Head(12, bytes(range(32)))

    assert head == Head.parse(str(head))
    for text in ("", "12", "12:", f"0:{head.hash.hex()}", f"12:{head.hash.hex()}00", "x:y", f"-1:{head.hash.hex()}"):
        with pytest.raises(ValueError, match=r"."):
            Head.parse(text)
