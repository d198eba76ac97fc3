"""Compares the four databases: every transfer with its outcome and its event, every outcome, key, wallet and account.

All rows are read in the order of their ids and merged, so that memory is bounded. A running system may be compared too: what
looks wrong is read again, because the snapshots of the databases are not of one moment.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg

from deploy.backup import databases
from deploy.backup.databases import Snapshots, rows
from deploy.backup.findings import Events, Finding, Kind, Outcome, Transfer, examine

SUSPECTS_MAX = 1000
"""How many ids are read again at a time."""

POSITION = """
SELECT finalized_at, transfer_id, (SELECT finalized_at FROM positions WHERE route = 'notifications.expired') AS expired_until
FROM positions WHERE route = 'transfers.finalized'
"""
TRANSFERS = """
SELECT id, status, failure_code, request_hash, from_wallet_id, to_wallet_id, amount, currency,
       coalesce((finalized_at, id) <= ($1::timestamptz, $2::uuid), false)
       AND ($3::timestamptz IS NULL OR coalesce(completed_at, failed_at) >= $3) AS is_announced
FROM transfers WHERE ($4::uuid[] IS NULL OR id = ANY($4)) ORDER BY id
"""
OUTCOMES = """
SELECT outcomes.transfer_id, outcome, reason, request_hash, debit.account_id AS source_id,
       credit.account_id AS destination_id, credit.amount, credit.currency
FROM outcomes
LEFT JOIN entries AS debit ON debit.account_id = outcomes.source_id AND debit.seq = outcomes.source_seq
LEFT JOIN entries AS credit ON credit.account_id = outcomes.destination_id AND credit.seq = outcomes.destination_seq
WHERE ($1::uuid[] IS NULL OR outcomes.transfer_id = ANY($1)) ORDER BY outcomes.transfer_id
"""
EVENTS = """
SELECT transfer_id, array_agg(DISTINCT type ORDER BY type) AS types
FROM (
    SELECT transfer_id, type FROM inbox WHERE ($1::uuid[] IS NULL OR transfer_id = ANY($1))
    UNION ALL
    SELECT transfer_id, CASE kind WHEN 'transfer_failed' THEN 'transfer.failed' ELSE 'transfer.completed' END
    FROM notifications WHERE ($1::uuid[] IS NULL OR transfer_id = ANY($1))
) AS recorded
GROUP BY transfer_id ORDER BY transfer_id
"""
KEYS = """
SELECT coalesce(transfers.id, keys.resource_id) AS id, transfers.id IS NULL AS is_lost, keys.count, user_id, users
FROM transfers
FULL JOIN (
    SELECT resource_id, count(*) AS count, array_agg(user_id) AS users FROM idempotency_keys GROUP BY resource_id
) AS keys ON keys.resource_id = transfers.id
WHERE transfers.id IS NULL OR keys.resource_id IS NULL OR keys.users <> ARRAY[transfers.user_id]
"""
COUNTS = "SELECT (SELECT count(*) FROM transfers) AS transfers, (SELECT count(*) FROM idempotency_keys) AS keys"


@dataclass(slots=True)
class Comparison:
    """The findings of one comparison as they are found, and how much was compared."""

    addresses: Mapping[str, str]
    compared: dict[str, int] = field(default_factory=dict)

    async def findings(self) -> AsyncIterator[Finding]:
        """Compare everything, once.

        Raises:
            DeployError: a database cannot be reached.
        """
        async with databases.snapshots(self.addresses) as snapshots:
            async for finding in self._transfers(snapshots):
                yield finding
            async for finding in _keys(snapshots.transaction):
                yield finding
            async for finding in self._wallets(snapshots):
                yield finding
            counted = await snapshots.transaction.fetchrow(COUNTS)
            self.compared |= dict(counted or {})

    async def _transfers(self, snapshots: Snapshots) -> AsyncIterator[Finding]:
        suspects: list[UUID] = []
        position = await _position(snapshots.notification)
        streams = (
            rows(snapshots.transaction, TRANSFERS, *position, None),
            rows(snapshots.wallet, OUTCOMES, None),
            rows(snapshots.notification, EVENTS, None),
        )
        self.compared |= {"outcomes": 0, "events": 0}
        async for id_, (transfer, outcome, events) in merge(streams):
            self.compared["outcomes"] += outcome is not None
            self.compared["events"] += events is not None
            if any(_examine(transfer, outcome, events)):
                suspects.append(id_)
            if len(suspects) == SUSPECTS_MAX:
                for finding in await self._confirm(suspects):
                    yield finding
                suspects.clear()
        for finding in await self._confirm(suspects):
            yield finding

    async def _confirm(self, suspects: Sequence[UUID]) -> list[Finding]:
        """Those of the ids that are still wrong in newer snapshots. Each cause is older now than its effect was before."""
        if not suspects:
            return []
        async with databases.snapshots(self.addresses) as snapshots:
            position = await _position(snapshots.notification)
            transfers = {
                row["id"]: row for row in await snapshots.transaction.fetch(TRANSFERS, *position, list(suspects))
            }
            outcomes = {row["transfer_id"]: row for row in await snapshots.wallet.fetch(OUTCOMES, list(suspects))}
            events = {row["transfer_id"]: row for row in await snapshots.notification.fetch(EVENTS, list(suspects))}
        return [
            finding for id_ in suspects for finding in _examine(transfers.get(id_), outcomes.get(id_), events.get(id_))
        ]

    async def _wallets(self, snapshots: Snapshots) -> AsyncIterator[Finding]:
        """The transaction service's directory against the ledger's accounts, and these against the users."""
        directory = rows(snapshots.transaction, "SELECT id, owner_id, currency FROM wallets ORDER BY id")
        accounts = rows(snapshots.wallet, "SELECT id, owner_id, currency FROM accounts ORDER BY id")
        self.compared["accounts"] = 0
        async for id_, (known, account) in merge((directory, accounts)):
            self.compared["accounts"] += account is not None
            if known is not None and (account is None or tuple(known) != tuple(account)):
                detail = f"the wallet of {known['owner_id']} in {known['currency']} is no account of the ledger"
                yield Finding(Kind.WALLET_WITHOUT_ACCOUNT, id_, detail)
        owners = rows(
            snapshots.wallet, "SELECT DISTINCT owner_id FROM accounts WHERE owner_id IS NOT NULL ORDER BY owner_id"
        )
        users = rows(snapshots.auth, "SELECT id FROM users ORDER BY id")
        async for id_, (owner, user) in merge((owners, users)):
            if owner is not None and user is None:
                yield Finding(Kind.ACCOUNT_WITHOUT_USER, id_, "the owner of an account is no user")


async def merge(
    streams: Sequence[AsyncIterator[asyncpg.Record]],
) -> AsyncIterator[tuple[UUID, list[asyncpg.Record | None]]]:
    """Merge rows that are sorted by their first column: each id, and its row in each stream."""
    heads = [await anext(stream, None) for stream in streams]
    while any(head is not None for head in heads):
        id_ = min(head[0] for head in heads if head is not None)
        yield id_, [head if head is not None and head[0] == id_ else None for head in heads]
        for number, head in enumerate(heads):
            if head is not None and head[0] == id_:
                heads[number] = await anext(streams[number], None)


async def _keys(transaction: asyncpg.Connection) -> AsyncIterator[Finding]:
    """Keys and transfers are in one database: each transfer has one key, that of its user."""
    async for row in rows(transaction, KEYS):
        if row["is_lost"]:
            detail = f"the key of {row['users'][0]} names a transfer that does not exist"
            yield Finding(Kind.KEY_WITHOUT_TRANSFER, row["id"], detail)
        elif row["count"] is None:
            yield Finding(Kind.TRANSFER_WITHOUT_KEY, row["id"], f"the transfer of {row['user_id']} has no key")
        else:
            detail = f"the transfer of {row['user_id']} has {row['count']} keys, of {', '.join(map(str, row['users']))}"
            yield Finding(Kind.KEY_DIFFERS, row["id"], detail)


async def _position(notification: asyncpg.Connection) -> tuple[Any, ...]:
    """Up to where the notification service has read finalized transfers, and the time before which its records have expired."""
    row = await notification.fetchrow(POSITION)
    return tuple(row) if row is not None else (None, None, None)


def _examine(
    transfer: asyncpg.Record | None, outcome: asyncpg.Record | None, events: asyncpg.Record | None
) -> Iterator[Finding]:
    return examine(
        None if transfer is None else _transfer(*transfer),
        None if outcome is None else _outcome(*outcome),
        None if events is None else Events(events["transfer_id"], tuple(events["types"])),
    )


def _transfer(id_: UUID, status: str, failure_code: str | None, *rest: Any) -> Transfer:
    request_hash, source, destination, amount, currency, is_announced = rest
    money = (source, destination, amount, currency)
    return Transfer(id_, status, failure_code, request_hash, money=money, is_announced=is_announced)


def _outcome(id_: UUID, outcome: str, reason: str | None, *rest: Any) -> Outcome:
    request_hash, *money = rest
    return Outcome(id_, outcome, reason, request_hash, money=tuple(money))
