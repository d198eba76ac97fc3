"""The books of a whole stack: the records of every database about every transfer, and their contradictions."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import asyncpg

from services.contracts.topology import TRANSFERS_FINALIZED
from tests.harness import feeds
from tests.harness.outbox_items import SUBJECTS
from tests.harness.stack import Stack

STATUS_OF = {"posted": "COMPLETED", "rejected": "FAILED", "voided": "FAILED"}
POLL_SECONDS = 0.25


class Transfer(NamedTuple):
    """A transfer in the transaction service; `took_seconds` from accepted to terminal."""

    id: UUID
    user_id: UUID
    recipient_id: UUID | None
    kind: str
    status: str
    failure_code: str | None
    amount: int
    currency: str
    from_wallet_id: UUID
    to_wallet_id: UUID
    took_seconds: float | None


class Account(NamedTuple):
    """An account in the ledger; an external account has no owner."""

    id: UUID
    owner_id: UUID | None
    currency: str
    posted: int
    held: int
    seq: int


class Entry(NamedTuple):
    """One line of an account."""

    account_id: UUID
    seq: int
    transfer_id: UUID
    currency: str
    amount: int
    balance_after: int


class UserEvent(NamedTuple):
    """A notification or a live event of a user about a transfer."""

    transfer_id: UUID
    user_id: UUID
    kind: str


@dataclass(frozen=True, slots=True)
class Books:
    """Everything that is checked, from all databases. Each is read at its own moment, so read them when the system is quiet."""

    transfers: Mapping[UUID, Transfer]
    keys: Sequence[tuple[UUID, str, UUID]]
    outcomes: Mapping[UUID, tuple[str, str | None]]
    accounts: Mapping[UUID, Account]
    entries: Sequence[Entry]
    notifications: Sequence[UserEvent]
    events: Sequence[UserEvent]
    unpublished: int
    finalized_twice: Sequence[UUID]
    """Transfers whose outcome was published under two event ids."""


async def books(stack: Stack) -> Books:
    """Read all databases as their owners see them."""
    names = ("transaction", "wallet", "notification")
    transaction, wallet, notification = [await asyncpg.connect(stack["databases"][name]) for name in names]
    try:
        return Books(
            transfers={row["id"]: Transfer(*row) for row in await transaction.fetch(_TRANSFERS)},
            keys=[(*row,) for row in await transaction.fetch("SELECT user_id, key, resource_id FROM idempotency_keys")],
            outcomes={id_: (outcome, reason) for id_, outcome, reason in await wallet.fetch(_OUTCOMES)},
            accounts={row["id"]: Account(*row) for row in await wallet.fetch(_ACCOUNTS)},
            entries=[Entry(*row) for row in await wallet.fetch(_ENTRIES)],
            notifications=[
                UserEvent(*row)
                for row in await notification.fetch("SELECT transfer_id, user_id, kind FROM notifications")
            ],
            events=[UserEvent(*row) for row in await notification.fetch(_EVENTS)],
            unpublished=await transaction.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL"),
            finalized_twice=[row["id"] for row in await transaction.fetch(_FINALIZED_TWICE, TRANSFERS_FINALIZED.type)],
        )
    finally:
        for connection in (transaction, wallet, notification):
            await connection.close()


_TRANSFERS = """
SELECT id, user_id, recipient_id, kind, status, failure_code, amount, currency, from_wallet_id, to_wallet_id,
       extract(epoch FROM coalesce(completed_at, failed_at) - created_at)::float8
FROM transfers
"""
_FINALIZED_TWICE = f"SELECT id FROM ({SUBJECTS}) AS subjects GROUP BY id HAVING count(*) > 1"
_OUTCOMES = """
SELECT transfer_id, CASE count(*) WHEN 1 THEN min(outcome) ELSE count(*) || ' outcomes' END, min(reason)
FROM outcomes GROUP BY transfer_id
"""
_ACCOUNTS = "SELECT id, owner_id, currency, posted, held, seq FROM accounts"
_ENTRIES = """
SELECT account_id, seq, transfer_id, currency, amount, balance_after FROM entries ORDER BY account_id, seq
"""
_EVENTS = f"SELECT id, user_id, type FROM {feeds.LINES} WHERE type IN ('transfer.completed', 'transfer.failed')"


def faults(read: Books, ids: Collection[UUID] | None = None) -> list[str]:
    """Violations of the guarantees, one sentence each. With `ids`, only these transfers are checked one by one.

    The ledger is always checked as a whole.
    """
    checked = set(read.transfers) if ids is None else set(ids)
    return [
        *_lost_or_stuck(read, checked),
        *_statuses_against_outcomes(read, checked),
        *_entries_against_outcomes(read, checked),
        *_accounts_against_entries(read),
        *_sums(read),
        *_keys(read, checked),
        *(
            f"events: the outcome of {id_} was finalized more than once"
            for id_ in read.finalized_twice
            if id_ in checked
        ),
        *_notifications_and_events(read, checked),
    ]


async def faults_when_quiet(stack: Stack, ids: Collection[UUID] | None = None, *, seconds: float) -> list[str]:
    """Read and check until there are no faults; return those that are left after this many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        # A cheap query first: reading the books is expensive.
        if await _quiet(stack, ids) or time.monotonic() > deadline:
            found = faults(await books(stack), ids)
            if not found or time.monotonic() > deadline:
                return found
        await asyncio.sleep(POLL_SECONDS)


async def _quiet(stack: Stack, ids: Collection[UUID] | None) -> bool:
    [row] = await stack.query(
        "transaction",
        "SELECT (SELECT count(*) FROM transfers WHERE status = 'PENDING' AND ($1::uuid[] IS NULL OR id = ANY($1))) "
        "+ (SELECT count(*) FROM outbox WHERE published_at IS NULL) AS waiting",
        None if ids is None else list(ids),
    )
    return bool(row["waiting"] == 0)


def _lost_or_stuck(read: Books, checked: set[UUID]) -> Iterator[str]:
    for id_ in checked:
        if id_ not in read.transfers:
            yield f"lost: {id_} was accepted and does not exist"
        elif read.transfers[id_].status == "PENDING":
            yield f"stuck: {id_} is PENDING"


def _statuses_against_outcomes(read: Books, checked: set[UUID]) -> Iterator[str]:
    for id_ in checked & set(read.transfers):
        status = read.transfers[id_].status
        outcome, reason = read.outcomes.get(id_, ("none", None))
        if status != "PENDING" and STATUS_OF.get(outcome) != status:
            yield f"contradictory: {id_} is {status} and its outcome is {outcome}"
        elif status == "FAILED" and reason != read.transfers[id_].failure_code:
            yield f"contradictory: {id_} failed by {read.transfers[id_].failure_code} and the ledger says {reason}"
    # The worker takes ids from transfers, so an outcome without a transfer is money moved without a request.
    for id_ in set(read.outcomes) - set(read.transfers):
        yield f"contradictory: {id_} has an outcome and no transfer"


def _entries_against_outcomes(read: Books, checked: set[UUID]) -> Iterator[str]:
    by_transfer: dict[UUID, list[Entry]] = defaultdict(list)
    for entry in read.entries:
        by_transfer[entry.transfer_id].append(entry)
    for id_, entries in by_transfer.items():
        if read.outcomes.get(id_, ("none", None))[0] != "posted":
            yield f"doubled: {id_} was not posted and has {len(entries)} entries"
    for id_ in checked & set(read.transfers):
        transfer = read.transfers[id_]
        if read.outcomes.get(id_, ("none", None))[0] == "posted":
            expected = {
                (transfer.from_wallet_id, -transfer.amount, transfer.currency),
                (transfer.to_wallet_id, transfer.amount, transfer.currency),
            }
            written = [(entry.account_id, entry.amount, entry.currency) for entry in by_transfer[id_]]
            if len(written) != len(expected) or set(written) != expected:
                yield f"doubled: {id_} was posted and its entries are {written}"


def _accounts_against_entries(read: Books) -> Iterator[str]:
    written = {id_: list(lines) for id_, lines in itertools.groupby(read.entries, key=lambda entry: entry.account_id)}
    for account in read.accounts.values():
        lines = written.get(account.id, [])
        balance = sum(entry.amount for entry in lines)
        if (account.posted, account.seq) != (balance, len(lines)):
            yield f"unbalanced: account {account.id} holds {account.posted} and its entries sum to {balance}"
        running = itertools.accumulate(entry.amount for entry in lines)
        chain = [(seq, after) for seq, after in enumerate(running, start=1)]
        if chain != [(entry.seq, entry.balance_after) for entry in lines]:
            yield f"broken chain: account {account.id}"
        if account.owner_id is not None and any(entry.balance_after < 0 for entry in lines):
            yield f"overdrawn: account {account.id}"


def _sums(read: Books) -> Iterator[str]:
    by_currency: Counter[str] = Counter()
    by_transfer: Counter[tuple[UUID, str]] = Counter()
    for entry in read.entries:
        by_currency[entry.currency] += entry.amount
        by_transfer[entry.transfer_id, entry.currency] += entry.amount
    yield from (f"not conserved: {currency} sums to {total}" for currency, total in by_currency.items() if total)
    yield from (f"one-sided: {id_} sums to {total}" for (id_, _), total in by_transfer.items() if total)


def _keys(read: Books, checked: set[UUID]) -> Iterator[str]:
    """Each key makes one transfer: no transfer without a key, none with two, no pair twice."""
    pairs = Counter((user_id, key) for user_id, key, _ in read.keys)
    yield from (f"key used twice: {key} of {user_id}" for (user_id, key), count in pairs.items() if count > 1)
    owners = {resource_id: user_id for user_id, _, resource_id in read.keys}
    counts = Counter(resource_id for _, _, resource_id in read.keys)
    for id_ in checked & set(read.transfers):
        if counts[id_] != 1 or owners[id_] != read.transfers[id_].user_id:
            yield f"keys: {id_} was made by {counts[id_]} keys of its user"


def _notifications_and_events(read: Books, checked: set[UUID]) -> Iterator[str]:
    for name, found, expected in (
        ("notifications", read.notifications, _expected_notifications),
        ("events", read.events, _expected_events),
    ):
        by_transfer: dict[UUID, list[tuple[UUID, str]]] = defaultdict(list)
        for item in found:
            by_transfer[item.transfer_id].append((item.user_id, item.kind))
        for id_ in checked & set(read.transfers):
            wanted = sorted(expected(read.transfers[id_]))
            if sorted(by_transfer[id_]) != wanted:
                yield f"{name}: of {id_} there are {sorted(by_transfer[id_])}, not {wanted}"


def _expected_notifications(transfer: Transfer) -> list[tuple[UUID, str]]:
    """One for the sender and one for the receiver; an operator's deposit notifies its receiver only."""
    deposit = transfer.kind == "deposit"
    found = []
    if not deposit and transfer.status != "PENDING":
        found.append((transfer.user_id, f"transfer_{transfer.status.lower()}"))
    receiver = transfer.recipient_id if transfer.status == "COMPLETED" else None
    if receiver is not None and (deposit or receiver != transfer.user_id):
        found.append((receiver, "transfer_received"))
    return found


def _expected_events(transfer: Transfer) -> list[tuple[UUID, str]]:
    """One for each user who may see the transfer: its sender, and its receiver once it is completed."""
    if transfer.status == "PENDING":
        return []
    viewers = {transfer.user_id}
    if transfer.status == "COMPLETED" and transfer.recipient_id is not None:
        viewers.add(transfer.recipient_id)
    return [(user_id, f"transfer.{transfer.status.lower()}") for user_id in viewers]
