"""One typed function per statement; the caller's connection comes first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from services.chassis.database import Connection, Record, Statements
from services.wallet.ledger import Account, Decision, Outcome

_transfer_id = attrgetter("transfer_id")
statements = Statements(Path(__file__).parent / "sql" / "queries.sql")


class Wallet(NamedTuple):
    """An account as its owner sees it; amounts in minor units."""

    id: UUID
    owner_id: UUID | None
    currency: str
    frozen: bool
    posted: int
    held: int
    created_at: datetime


class Line(NamedTuple):
    """One line of a statement: an entry and who was on the other side."""

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


class Recorded(NamedTuple):
    """The outcomes found, by transfer id, and the ledger's clock when they were looked up."""

    outcomes: dict[UUID, Outcome]
    now: datetime


async def lock_accounts(connection: Connection, account_ids: Sequence[UUID]) -> Locked:
    """Lock these accounts, in id order, until the transaction ends; unknown ids are left out."""
    row = await connection.fetchrow(statements.lock_accounts, account_ids)
    assert row is not None, "an aggregate always has a row"
    *columns, last_entry_at = row
    if columns[0] is None:
        return Locked([], None)
    return Locked([Account._make(account) for account in zip(*columns, strict=True)], last_entry_at)


async def read_outcomes(connection: Connection, transfer_ids: Sequence[UUID]) -> Recorded:
    """What is recorded about these transfers, and the clock."""
    rows = await connection.fetch(statements.read_outcomes, transfer_ids)
    found = {row["transfer_id"]: Outcome._make(tuple(row)[:-1]) for row in rows if row["outcome"] is not None}
    return Recorded(found, rows[0]["now"])


async def insert_outcomes(connection: Connection, outcomes: Sequence[Outcome]) -> int:
    """Record outcomes; how many were won. Sorted by id, else two of these could deadlock."""
    columns = zip(*sorted(outcomes, key=_transfer_id), strict=True)
    return int(await connection.fetchval(statements.insert_outcomes, *columns))


async def write_entries(connection: Connection, decision: Decision) -> None:
    """Write the entries of a batch and the balances they lead to."""
    entries = zip(*decision.entries, strict=True)
    changed = zip(*((state.account.id, state.posted, state.seq) for state in decision.changed), strict=True)
    await connection.execute(statements.write_entries, *entries, decision.at, *changed)


async def insert_voids(
    connection: Connection, transfer_ids: Sequence[UUID], reasons: Sequence[str], request_hashes: Sequence[bytes]
) -> None:
    """Void what nobody has decided yet. The ids must be sorted."""
    await connection.execute(statements.insert_voids, transfer_ids, reasons, request_hashes)


async def insert_account(connection: Connection, account_id: UUID, owner_id: UUID, currency: str) -> bool:
    """Open an account; False when the owner already has one in this currency."""
    return await connection.fetchval(statements.insert_account, account_id, owner_id, currency) is not None


async def insert_accounts(connection: Connection, accounts: Sequence[tuple[UUID, UUID | None, str]]) -> None:
    """Open many accounts (id, owner or None for the world, currency), leaving those that exist as they are."""
    ordered = sorted(accounts, key=lambda account: (str(account[1]), account[2]))
    await connection.execute(statements.insert_accounts, *(list(column) for column in zip(*ordered, strict=True)))


async def find_wallet(connection: Connection, wallet_id: UUID) -> Wallet | None:
    """The wallet with this id."""
    row = await connection.fetchrow(statements.find_account, wallet_id)
    return Wallet(*row) if row else None


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
    """The id, owner and currency of the accounts asked for by id, by (owner, currency), or as the world's in a currency."""
    rows = await connection.fetch(
        statements.find_accounts, ids, [owner for owner, _ in owners], [currency for _, currency in owners], external
    )
    return [(row["id"], row["owner_id"], row["currency"]) for row in rows]


async def read_balance(connection: Connection, wallet_id: UUID) -> tuple[int, int, datetime] | None:
    """Posted and held minor units now, and when now was."""
    row = await connection.fetchrow(statements.read_balance, wallet_id)
    return (row["posted"], row["held"], row["as_of"]) if row else None


async def read_balance_at(connection: Connection, wallet_id: UUID, moment: datetime) -> int:
    """The posted balance at a past moment, in minor units; 0 before the first entry."""
    return int(await connection.fetchval(statements.read_balance_at, wallet_id, moment))


async def last_seq_at(connection: Connection, wallet_id: UUID, moment: datetime) -> int:
    """The seq of the last entry at or before a moment; 0 if there is none."""
    return int(await connection.fetchval(statements.last_seq_at, wallet_id, moment))


async def list_entries(
    connection: Connection, wallet_id: UUID, *, below: int, above: int, up_to: int, limit: int
) -> list[Line]:
    """A page of the statement, newest first: seqs under `below`, over `above`, not over `up_to`."""
    rows = await connection.fetch(statements.list_entries, wallet_id, below, above, up_to, limit)
    return [Line(*row) for row in rows]


async def read_available(connection: Connection, wallet_ids: Sequence[UUID]) -> dict[UUID, tuple[int, bool]]:
    """What each wallet's owner can spend, in minor units, and whether it is frozen."""
    rows = await connection.fetch(statements.read_available, wallet_ids)
    return {row["id"]: (row["available"], row["frozen"]) for row in rows}


async def list_decided(connection: Connection, transfer_ids: Sequence[UUID]) -> set[UUID]:
    """Those of the transfers that have an outcome."""
    return {row["transfer_id"] for row in await connection.fetch(statements.list_decided, transfer_ids)}


async def find_outcome(connection: Connection, transfer_id: UUID) -> Record | None:
    """The outcome of one transfer: transfer_id, outcome, reason, at."""
    return await connection.fetchrow(statements.find_outcome, transfer_id)


async def set_frozen(connection: Connection, wallet_id: UUID, *, frozen: bool) -> Wallet | None:
    """Freeze or thaw a user's wallet."""
    row = await connection.fetchrow(statements.set_frozen, wallet_id, frozen)
    return Wallet(*row) if row else None


async def insert_audit(connection: Connection, *, actor_id: UUID, act: str, account_id: UUID, request_id: str) -> None:
    """Write down who did what."""
    await connection.execute(statements.insert_audit, actor_id, act, account_id, request_id)


async def read_balance_sheet(connection: Connection) -> list[Record]:
    """Per currency: customers, external, sum; minor units."""
    return list(await connection.fetch(statements.read_balance_sheet))


async def broken(connection: Connection, check: str) -> list[Record]:
    """The rows that violate the named `prove_...` statement, at most twenty."""
    return list(await connection.fetch(getattr(statements, check)))
