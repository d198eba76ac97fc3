"""The rules of sealing, pure: which outcomes a block covers, and what its hash covers. No I/O.

A block lists outcomes and accounts with a digest of each. The digest of an outcome covers its row and its two entries; that of an
account covers its immutable columns. The hash of a block covers the list and the hash of the block before. So one recorded hash
fixes every row up to its block.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

from services.contracts import limits

VERSION = 1
"""The version of the digests and of the hash. A change of either needs a new version; old versions remain readable."""

DIGEST_BYTES = 32
GONE = bytes(DIGEST_BYTES)
"""Instead of the digest of a missing row."""

BEFORE_FIRST = bytes(DIGEST_BYTES)
"""The previous hash of the first block."""


SLACK = timedelta(seconds=15)
"""How much earlier than the transaction number of its database transaction an outcome may be dated.

A batch reads the clock, then decides, then writes: at most 5 s idle in a transaction, at most 5 s in a statement. A void reads
the clock microseconds before.
"""

OVERLAP = timedelta(seconds=1)
"""How far a pass that is not thorough looks back before the last block."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Head(NamedTuple):
    """The newest block: it suffices to detect later changes of anything before it."""

    number: int
    hash: bytes

    def __str__(self) -> str:
        """As text: `NUMBER:HASH`."""
        return f"{self.number}:{self.hash.hex()}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Parse a head.

        Raises:
            ValueError: it is not `NUMBER:HASH`.
        """
        number, _, digest = text.partition(":")
        head = cls(int(number), bytes.fromhex(digest))
        if not 1 <= head.number <= limits.BIGINT_MAX or len(head.hash) != DIGEST_BYTES:
            raise ValueError("a head is a number, a colon and 64 hexadecimal digits")
        return head


class HeadLost(Exception):  # noqa: N818 - reads as what it is
    """A block that was recorded is missing or has another hash: the history was rewritten."""


class State(NamedTuple):
    """The state of sealing. `now` is the clock of the database, read before the rows.

    Every transaction of the database that got its number before `finalized_at` has ended: its rows can be read.
    """

    now: datetime
    finalized_at: datetime | None
    head: Head | None
    sealed_at: datetime | None
    frontier: datetime | None


class Members(NamedTuple):
    """Rows of one kind in a block: their ids, and 32 bytes of digest for each, in the same order."""

    ids: Sequence[UUID]
    digests: bytes


class Block(NamedTuple):
    """A block as it is hashed. Times are microseconds since 1970 as text, which can represent any time of a table."""

    number: int
    version: int
    previous: bytes
    sealed_at: str
    xid: int
    frontier: str | None
    latest_at: str | None
    outcomes: Members
    accounts: Members


def scan_from(state: State, *, thorough: bool) -> datetime | None:
    """The earliest time of an unsealed outcome; None: any time.

    Everything below the frontier is sealed. If the clock of the server was set back, new rows may be below it. A pass that is not
    thorough finds rows since the last block only; rows that commit late are found by a thorough pass.
    """
    if state.frontier is None or state.sealed_at is None:
        return None
    if thorough:
        return min(state.frontier, state.now - SLACK)
    return min(state.sealed_at, state.now) - OVERLAP


def close(state: State, *, thorough: bool, unread_from: datetime | None) -> datetime | None:
    """The frontier of the next block: every older outcome is in a block then. None: unknown.

    `unread_from`: the time from which outcomes were left for the following block, if any were.
    """
    if state.finalized_at is None or not thorough:
        return state.frontier
    frontier = min(state.finalized_at, state.now) - SLACK
    return frontier if unread_from is None else min(frontier, unread_from)


def microseconds(moment: datetime | None) -> str | None:
    """A time in the form that is hashed."""
    return None if moment is None else str((moment - _EPOCH) // _MICROSECOND)


def block_hash(block: Block) -> bytes:
    """SHA-256 of the block: a line of JSON that includes all lengths, then ids and digests."""
    line = [
        block.version,
        block.number,
        block.previous.hex(),
        block.sealed_at,
        block.xid,
        block.frontier,
        block.latest_at,
        *(size for members in (block.outcomes, block.accounts) for size in (len(members.ids), len(members.digests))),
    ]
    content = sha256(json.dumps(line, separators=(",", ":")).encode() + b"\n")
    for members in (block.outcomes, block.accounts):
        content.update(b"".join(id_.bytes for id_ in members.ids))
        content.update(members.digests)
    return content.digest()


def differing(members: Members, found: bytes) -> Iterator[tuple[UUID, bool]]:
    """The rows whose digest differs from the one `found` now, and whether the row is missing."""
    if members.digests == found:
        return
    for position, id_ in enumerate(members.ids):
        part = slice(position * DIGEST_BYTES, (position + 1) * DIGEST_BYTES)
        if members.digests[part] != found[part]:
            yield id_, found[part] == GONE
