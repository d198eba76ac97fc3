"""One typed function per statement; the caller's connection comes first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from services.chassis.database import Connection, Record, UniqueViolation
from services.chassis.statements import Statements
from services.wallet.ledger import POSTED, Account, Decision, Outcome
from services.wallet.seal import Block, Head, Members, State

_first = itemgetter(0)
statements = Statements(Path(__file__).parent / "sql" / "queries.sql")

OUTCOMES_KEY = "outcomes_pkey"

SEQ_MAX = 2**62
"""Above every seq."""


class OutcomeExists(Exception):  # noqa: N818 - reads as what it is
    """A transfer of this batch already has an outcome, which was recorded after the outcomes were read."""


class Wallet(NamedTuple):
    """An account as its owner sees it. Amounts in minor units."""

    id: UUID
    owner_id: UUID | None
    currency: str
    frozen: bool
    posted: int
    held: int
    created_at: datetime


class Line(NamedTuple):
    """One line of a statement: an entry and its counterparty."""

    seq: int
    transfer_id: UUID
    amount: int
    balance_after: int
    created_at: datetime
    description: str | None
    counterparty_id: UUID
    counterparty_owner_id: UUID | None


class Locked(NamedTuple):
    """Accounts under lock, and when the latest entry on any of them was written."""

    accounts: list[Account]
    last_entry_at: datetime | None


class Check(NamedTuple):
    """The result of one check of the whole ledger; `detail` lists its violations."""

    name: str
    ok: bool
    detail: str


class Proof(NamedTuple):
    """A run of all checks over one snapshot. `head` is the newest block known to be genuine, for later runs.

    `last_at` is the time of the stored run that this one began with.
    """

    ok: bool
    at: datetime
    checks: list[Check]
    head: Head | None = None
    last_at: datetime | None = None

    def is_stored(self, required: Head | None) -> bool:
        """Whether it becomes the last run: not if one caller's block was `required`, unless another check failed."""
        return required is None or any(
            not check.ok and check.name != "recorded_blocks_present" for check in self.checks
        )


class Overdue(NamedTuple):
    """An outcome that should be in a block and is not. `late`: older than the frontier of the newest block."""

    transfer_id: UUID
    late: bool
    at: str


class Recorded(NamedTuple):
    """The outcomes found, by transfer id, and the ledger's clock when they were looked up."""

    outcomes: dict[UUID, Outcome]
    now: datetime


async def lock_accounts(connection: Connection, account_ids: Sequence[UUID]) -> Locked:
    """Lock these accounts, in id order, until the transaction ends; unknown ids are omitted."""
    row = await connection.fetchrow(statements.lock_accounts, account_ids)
    assert row is not None, "an aggregate always has a row"
    *columns, last_entry_at = row
    if columns[0] is None:
        return Locked([], None)
    return Locked([Account._make(account) for account in zip(*columns, strict=True)], last_entry_at)


async def read_outcomes(connection: Connection, transfer_ids: Sequence[UUID]) -> Recorded:
    """The recorded outcomes of these transfers, and the clock."""
    rows = await connection.fetch(statements.read_outcomes, transfer_ids)
    found = {row["transfer_id"]: Outcome._make(tuple(row)[:-1]) for row in rows if row["outcome"] is not None}
    return Recorded(found, rows[0]["now"])


async def write_decision(connection: Connection, decision: Decision) -> None:
    """Write what was decided: outcomes, entries and new balances. Sorted by id, or two concurrent writes could deadlock.

    Raises:
        OutcomeExists: a concurrent transaction has recorded one of the outcomes; this transaction has failed.
    """
    rows = sorted(_rows(decision), key=_first)
    changed = [(state.account.id, state.posted, state.seq) for state in decision.changed]
    columns = (*_columns(rows, 13), *_columns(changed, 3))
    try:
        await connection.execute(statements.write_decision, decision.at, *columns)
    except UniqueViolation as error:
        if error.constraint_name == OUTCOMES_KEY:
            raise OutcomeExists from error
        raise


def _rows(decision: Decision) -> Iterator[tuple[Any, ...]]:
    """Each outcome with the currency, the amount and the two balances of its entries, if it was posted."""
    entries = iter(decision.entries)
    for outcome in decision.outcomes:
        if outcome.outcome == POSTED:
            debit, credit = next(entries), next(entries)
            yield (*outcome[:-1], credit.currency, credit.amount, debit.balance_after, credit.balance_after)
        else:
            yield (*outcome[:-1], None, None, None, None)


def _columns(rows: Sequence[tuple[Any, ...]], count: int) -> Iterable[Sequence[Any] | None]:
    """The columns of these rows. One without a value is None: the driver needs as long for a NULL in an array as for a number."""
    if not rows:
        return ((),) * count
    return (None if _is_empty(column) else column for column in zip(*rows, strict=True))


def _is_empty(column: Sequence[Any]) -> bool:
    return column[0] is None and column.count(None) == len(column)


async def insert_voids(
    connection: Connection, transfer_ids: Sequence[UUID], reasons: Sequence[str], request_hashes: Sequence[bytes]
) -> int:
    """Void the transfers without an outcome; return how many were voided. The ids must be sorted."""
    return len(await connection.fetch(statements.insert_voids, transfer_ids, reasons, request_hashes))


async def insert_account(connection: Connection, account_id: UUID, owner_id: UUID, currency: str) -> bool:
    """Open an account; False when the owner already has one in this currency."""
    return await connection.fetchval(statements.insert_account, account_id, owner_id, currency) is not None


async def insert_accounts(connection: Connection, accounts: Sequence[tuple[UUID, UUID | None, str]]) -> None:
    """Open accounts (id, owner or None for an external account, currency); existing ones do not change."""
    ordered = sorted(accounts, key=lambda account: (str(account[1]), account[2]))
    await connection.execute(statements.insert_accounts, *(list(column) for column in zip(*ordered, strict=True)))


async def find_wallet(connection: Connection, wallet_id: UUID) -> Wallet | None:
    """The wallet with this id."""
    row = await connection.fetchrow(statements.find_account, wallet_id)
    return Wallet(*row) if row else None


async def find_wallets(
    connection: Connection, wallet_ids: Sequence[UUID]
) -> dict[tuple[UUID, UUID | None], tuple[Wallet, datetime]]:
    """These wallets, each with the time at which it was read, by id and owner."""
    rows = await connection.fetch(statements.list_accounts, wallet_ids)
    return {(row["id"], row["owner_id"]): (Wallet._make(tuple(row)[:-1]), row["as_of"]) for row in rows}


async def find_wallet_of(connection: Connection, owner_id: UUID, currency: str) -> Wallet | None:
    """The owner's wallet in this currency."""
    row = await connection.fetchrow(statements.find_account_of, owner_id, currency)
    return Wallet(*row) if row else None


async def list_wallets_of(connection: Connection, owner_id: UUID) -> list[Wallet]:
    """All wallets of an owner, by currency."""
    return [Wallet(*row) for row in await connection.fetch(statements.list_accounts_of, owner_id)]


async def find_accounts(
    connection: Connection, ids: Sequence[UUID], owners: Sequence[tuple[UUID, str]], external: Sequence[str]
) -> list[tuple[UUID, UUID | None, str]]:
    """Id, owner and currency of accounts: by id, by (owner, currency), or external ones by currency."""
    rows = await connection.fetch(
        statements.find_accounts, ids, [owner for owner, _ in owners], [currency for _, currency in owners], external
    )
    return [(row["id"], row["owner_id"], row["currency"]) for row in rows]


async def read_balance(connection: Connection, wallet_id: UUID) -> tuple[int, int, datetime] | None:
    """Posted and held minor units now, and the time."""
    row = await connection.fetchrow(statements.read_balance, wallet_id)
    return (row["posted"], row["held"], row["as_of"]) if row else None


async def read_balance_at(
    connection: Connection, wallet_id: UUID, moment: datetime
) -> tuple[int, int, datetime] | None:
    """Posted and held minor units at a past moment, and the moment; 0 before the first entry."""
    row = await connection.fetchrow(statements.read_balance_at, wallet_id, moment)
    return (row["posted"], row["held"], moment) if row else None


async def last_seq_before(connection: Connection, wallet_id: UUID, moment: datetime) -> int:
    """The seq of the last entry before a moment; 0 if there is none."""
    return int(await connection.fetchval(statements.last_seq_before, wallet_id, moment))


async def list_entries(
    connection: Connection, wallet_id: UUID, *, below: int, above: int, up_to: int, limit: int
) -> list[Line]:
    """A page of the statement, newest first: seqs less than `below`, greater than `above`, at most `up_to`."""
    rows = await connection.fetch(statements.list_entries, wallet_id, below, above, up_to, limit)
    return [Line(*row) for row in rows]


async def read_available(connection: Connection, wallet_ids: Sequence[UUID]) -> dict[UUID, tuple[int, bool]]:
    """The available balance of each wallet, in minor units, and whether it is frozen."""
    rows = await connection.fetch(statements.read_available, wallet_ids)
    return {row["id"]: (row["available"], row["frozen"]) for row in rows}


async def list_decided(connection: Connection, transfer_ids: Sequence[UUID]) -> set[UUID]:
    """The given transfers that have an outcome."""
    return {row["transfer_id"] for row in await connection.fetch(statements.list_decided, transfer_ids)}


async def find_outcome(connection: Connection, transfer_id: UUID) -> Record | None:
    """The outcome of one transfer: transfer_id, outcome, reason, at."""
    return await connection.fetchrow(statements.find_outcome, transfer_id)


async def set_frozen(connection: Connection, wallet_id: UUID, *, frozen: bool) -> Wallet | None:
    """Freeze or unfreeze a user's wallet."""
    row = await connection.fetchrow(statements.set_frozen, wallet_id, frozen)
    return Wallet(*row) if row else None


async def insert_audit(
    connection: Connection, *, actor_id: UUID, action: str, account_id: UUID, request_id: str
) -> None:
    """Record an action in the audit log."""
    await connection.execute(statements.insert_audit, actor_id, action, account_id, request_id)


async def read_balance_sheet(connection: Connection, moment: datetime | None = None) -> list[Record]:
    """Per currency: customers, external, sum; minor units, now or at a past moment."""
    return list(await connection.fetch(statements.read_balance_sheet, moment))


async def list_violations(connection: Connection, check: str) -> list[Record]:
    """The rows that violate the check of the named `prove_...` statement, at most twenty."""
    return list(await connection.fetch(getattr(statements, check)))


async def prefer_indexes(connection: Connection) -> None:
    """Make the planner prefer index look-ups to scans, until the transaction ends."""
    await connection.execute(statements.prefer_indexes)


async def read_seal_state(connection: Connection) -> State:
    """The state of sealing, and up to where all transactions of the database have ended."""
    row = await connection.fetchrow(statements.read_seal_state)
    assert row is not None, "there is always a clock"
    head = None if row["number"] is None else Head(row["number"], row["hash"])
    return State(row["now"], row["finalized_at"], head, row["sealed_at"], row["frontier"])


async def list_unsealed(
    connection: Connection, since: datetime | None, limit: int
) -> tuple[list[UUID], datetime | None]:
    """Unsealed outcomes not older than `since`, oldest first, and the time of the last of them."""
    row = await connection.fetchrow(statements.list_unsealed, since, limit)
    assert row is not None, "an aggregate always has a row"
    return row[0] or [], row[1]


async def list_unsealed_accounts(connection: Connection, limit: int) -> list[UUID]:
    """Unsealed accounts. It reads the whole table."""
    return await connection.fetchval(statements.list_unsealed_accounts, limit) or []


async def digest_outcomes(connection: Connection, transfer_ids: Sequence[UUID]) -> bytes:
    """The current digests of these outcomes, 32 bytes each, in order; zeros for a missing one."""
    return await connection.fetchval(statements.digest_outcomes, transfer_ids) or b""


async def digest_accounts(connection: Connection, account_ids: Sequence[UUID]) -> bytes:
    """The digests of these accounts, likewise."""
    return await connection.fetchval(statements.digest_accounts, account_ids) or b""


async def number_transaction(connection: Connection) -> int:
    """The number of this database transaction; it is assigned if necessary."""
    return int(await connection.fetchval(statements.number_transaction))


async def insert_block(
    connection: Connection,
    block: Block,
    hash_: bytes,
    *,
    sealed_at: datetime,
    frontier: datetime | None,
    latest_at: datetime | None,
) -> bool:
    """Insert a block; False if another sealer has inserted one with this number."""
    number = await connection.fetchval(
        statements.insert_block,
        *(block.number, block.version, block.previous, hash_, sealed_at, block.xid, frontier, latest_at),
        *(*block.outcomes, *block.accounts),
    )
    return number is not None


async def list_blocks(connection: Connection, after: int, rows: int) -> list[tuple[Block, bytes]]:
    """The blocks after a number with their hashes, so many that they have about `rows` rows together, at least one."""
    return [_block(row) for row in await connection.fetch(statements.list_blocks, after, rows)]


async def count_blocks(connection: Connection, after: int) -> int:
    """How many blocks there are after a number, if none is missing."""
    return int(await connection.fetchval(statements.count_blocks, after))


async def find_block_before_rows(connection: Connection, newest: Head, rows: int) -> Head | None:
    """The newest block that has so many rows between it and the end of `newest`; None if there are fewer rows."""
    row = await connection.fetchrow(statements.find_block_before_rows, newest.number, rows)
    return None if row is None else Head(*row)


async def has_block(connection: Connection, head: Head) -> bool:
    """Whether there is a block with this number and hash."""
    return bool(await connection.fetchval(statements.has_block, head.number, head.hash))


async def list_overdue(connection: Connection, grace: timedelta) -> list[Overdue]:
    """Unsealed outcomes older than the frontier of the newest block, or than `grace`; at most twenty."""
    return [Overdue(*row) for row in await connection.fetch(statements.list_overdue, grace)]


async def list_overdue_accounts(connection: Connection, grace: timedelta) -> list[UUID]:
    """Unsealed accounts opened longer than `grace` ago; at most twenty."""
    return [row["id"] for row in await connection.fetch(statements.list_overdue_accounts, grace)]


async def upsert_last_proof(connection: Connection, proof: Proof) -> None:
    """Store this run, unless it passed and a later one is stored, or it does not know of one that failed."""
    checks = json.dumps([check._asdict() for check in proof.checks])
    number, hash_ = proof.head or (None, None)
    await connection.execute(statements.upsert_last_proof, proof.at, proof.ok, checks, number, hash_, proof.last_at)


async def find_last_proof(connection: Connection) -> Proof | None:
    """The stored run."""
    row = await connection.fetchrow(statements.find_last_proof)
    if row is None:
        return None
    head = None if row["head_number"] is None else Head(row["head_number"], row["head_hash"])
    return Proof(row["ok"], row["at"], [Check(**check) for check in json.loads(row["checks"])], head)


def _block(row: Record) -> tuple[Block, bytes]:
    block = Block(
        number=row["number"],
        version=row["version"],
        previous=row["previous"],
        sealed_at=row["sealed_at"],
        xid=row["xid"],
        frontier=row["frontier"],
        latest_at=row["latest_at"],
        outcomes=Members(row["outcomes"], row["outcome_digests"]),
        accounts=Members(row["accounts"], row["account_digests"]),
    )
    return block, row["hash"]
