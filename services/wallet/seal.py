"""How the history is sealed, pure: which outcomes a block closes, and what its hash covers. No I/O.

A block lists outcomes and accounts with a digest of each. The digest of an outcome covers its row and the two entries that
it points at; that of an account what never changes about it. The hash of a block covers the list and the hash of the block
before. So whoever remembers one hash has fixed every row up to there.
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
"""Of the digests and of the hash. A change of either is a new number, and the old way stays readable."""

DIGEST_BYTES = 32
GONE = bytes(DIGEST_BYTES)
"""In place of the digest of a row that is not there."""

BEFORE_FIRST = bytes(DIGEST_BYTES)
"""What the first block names as the hash before it."""


SLACK = timedelta(seconds=15)
"""How much earlier than its database transaction got a number an outcome may be dated.

A batch of unknown accounts reads the clock, then decides, then writes: at most 5 s idle in a transaction, at most 5 s in a
statement. A void reads the clock microseconds before.
"""

OVERLAP = timedelta(seconds=1)
"""How far a pass that is not thorough looks back before the last block."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Head(NamedTuple):
    """The newest block: enough to notice later that something before it was changed."""

    number: int
    hash: bytes

    def __str__(self) -> str:
        """As people note it down: `NUMBER:HASH`."""
        return f"{self.number}:{self.hash.hex()}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Read what was noted down.

        Raises:
            ValueError: it is no `NUMBER:HASH`.
        """
        number, _, digest = text.partition(":")
        head = cls(int(number), bytes.fromhex(digest))
        if not 1 <= head.number <= limits.BIGINT_MAX or len(head.hash) != DIGEST_BYTES:
            raise ValueError("a head is a number, a colon and 64 hexadecimal digits")
        return head


class HeadLost(Exception):  # noqa: N818 - reads as what it is
    """A block that was recorded is missing or has another hash: the history was rewritten."""


class State(NamedTuple):
    """Where sealing stands. `now` is the database's clock, read before the rows are.

    Every transaction of the database that got its number before `finalized_at` has ended: what it wrote can be read.
    """

    now: datetime
    finalized_at: datetime | None
    head: Head | None
    sealed_at: datetime | None
    frontier: datetime | None


class Members(NamedTuple):
    """Rows of one kind in a block: ids, and 32 bytes for each in the same order."""

    ids: Sequence[UUID]
    digests: bytes


class Block(NamedTuple):
    """What is hashed. Times are microseconds since 1970 as text, so that any time that a table can hold can be told."""

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
    """The earliest time that an outcome without a block can have; None: any.

    Everything below the frontier is sealed. If the server's clock was set back, what is new may lie below it. A pass that is
    not thorough looks for what is new since the last block, and leaves what commits late to one that is.
    """
    if state.frontier is None or state.sealed_at is None:
        return None
    if thorough:
        return min(state.frontier, state.now - SLACK)
    return min(state.sealed_at, state.now) - OVERLAP


def close(state: State, *, thorough: bool, unread_from: datetime | None) -> datetime | None:
    """The frontier of the next block: each outcome that is older is in a block then. None: nothing is known.

    `unread_from` is the time from which outcomes were left for the block after it, if some were.
    """
    if state.finalized_at is None or not thorough:
        return state.frontier
    frontier = min(state.finalized_at, state.now) - SLACK
    return frontier if unread_from is None else min(frontier, unread_from)


def microseconds(moment: datetime | None) -> str | None:
    """A time as it is hashed."""
    return None if moment is None else str((moment - _EPOCH) // _MICROSECOND)


def block_hash(block: Block) -> bytes:
    """SHA-256 over everything that the block says: a line of JSON that tells all lengths, then ids and digests."""
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
    """The rows whose digest is not the one `found` now, and whether the row is gone."""
    if members.digests == found:
        return
    for place, id_ in enumerate(members.ids):
        part = slice(place * DIGEST_BYTES, (place + 1) * DIGEST_BYTES)
        if members.digests[part] != found[part]:
            yield id_, found[part] == GONE
