"""One typed function per statement; the caller's connection comes first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from services.chassis.database import Connection, Record
from services.chassis.period import upper_bound
from services.chassis.statements import Statements
from services.contracts.identifiers import earlier_id
from services.contracts.topology import BUNDLE_MAX, TRANSFERS_REQUESTED
from services.transaction import simulation
from services.transaction.simulation import Simulation
from services.transaction.transfer import PENDING, Transfer

statements = Statements(Path(__file__).parent / "sql" / "queries.sql")

HASH_VERSION = 1
"""The version of the rules that made a request hash; hashes of different versions are not compared."""

PENDING_MAX = 1000

HINTS_MAX = 100
"""So many wallets that may be frozen are read with each batch. If there are more, those of the batch are looked up."""

BATCH_SECONDS_MAX = 60.0
"""Transfers that are accepted in one commit have ids that were created within far less."""


class Key(NamedTuple):
    """A used idempotency key: the hash of its request, and its transfer."""

    request_hash: bytes
    transfer_id: UUID


class Keys(NamedTuple):
    """The used keys, by (user, key), the time of the database, and the wallets that may be frozen: None for too many to read."""

    used: dict[tuple[UUID, str], Key]
    now: datetime
    hinted: frozenset[UUID] | None


class Draft(NamedTuple):
    """A transfer to be accepted, with its idempotency key and the ids that its messages carry."""

    transfer: Transfer
    idempotency_key: str
    key_hash: bytes
    request_id: str
    traceparent: str | None
    simulation: Simulation = simulation.NONE

    @property
    def key(self) -> tuple[UUID, str]:
        """The user and their idempotency key."""
        return self.transfer.user_id, self.idempotency_key


class WalletFacts(NamedTuple):
    """What never changes about a wallet. External accounts have no owner."""

    id: UUID
    owner_id: UUID | None
    currency: str


class WalletResult(NamedTuple):
    """The outcome of a transfer from the wallet: posted, rejected or voided, the reason, and the time (the ledger's clock).

    `attempt` is the JSON of the worker's attempt that received it, if it was a worker.
    """

    transfer_id: UUID
    outcome: str
    reason: str | None
    at: datetime
    attempt: str | None


class Finalized(NamedTuple):
    """A position in the order in which transfers were finalized, by the database's clock."""

    at: datetime
    transfer_id: UUID


class TransferState(NamedTuple):
    """The state of a transfer, by the database's clock, and what was accepted."""

    status: str
    is_conflicted: bool
    is_expired: bool
    terms: tuple[UUID, UUID, int, str, str, datetime]
    """Source, destination, amount, currency, hash of the request in hex, expiry."""

    @property
    def is_terminal(self) -> bool:
        """Whether the transfer has its outcome."""
        return self.status != PENDING


class Position(NamedTuple):
    """The position of a transfer in a list that runs from the newest to the oldest."""

    created_at: datetime
    id: UUID


NEWEST = Position(datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))
"""Above every transfer."""

LOWEST_ID = UUID(int=0)


class Filter(NamedTuple):
    """Filters of a user's transfers."""

    status: str | None = None
    kind: str | None = None
    wallet_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


async def find_keys(connection: Connection, pairs: Sequence[tuple[UUID, str]]) -> Keys:
    """Find used (user, key) pairs, and read what else the acceptance of new ones needs."""
    rows = await connection.fetch(
        statements.find_keys, [user for user, _ in pairs], [key for _, key in pairs], HINTS_MAX + 1
    )
    used = {
        (row["user_id"], row["key"]): Key(row["request_hash"], row["resource_id"])
        for row in rows
        if row["user_id"] is not None
    }
    hinted = frozenset(rows[0]["hinted"])
    return Keys(used, rows[0]["now"], hinted if len(hinted) <= HINTS_MAX else None)


async def accept_transfers(
    connection: Connection, drafts: Sequence[Draft], commands: Sequence[str], *, notify: bool
) -> set[UUID]:
    """Record the keys, PENDING transfers and commands (JSON) of drafts; the ids whose key was new. Sorted here: no deadlock.

    `notify`: wake the relay at the commit.
    """
    pairs = sorted(zip(drafts, commands, strict=True), key=lambda pair: pair[0].key)
    columns = zip(*(_columns(draft) for draft, _ in pairs), strict=True)
    row = await connection.fetchrow(
        statements.accept_transfers,
        *columns,
        HASH_VERSION,
        TRANSFERS_REQUESTED.type,
        [command for _, command in pairs],
        [number // BUNDLE_MAX for number in range(len(pairs))],
        [draft.simulation.delay_seconds for draft, _ in pairs],
        notify,
        [draft.transfer.expected_by for draft, _ in pairs],
    )
    assert row is not None, "an aggregate always has a row"
    return set(row["ids"] or ())


def _columns(draft: Draft) -> tuple[object, ...]:
    transfer = draft.transfer
    return (
        transfer.id,
        transfer.user_id,
        transfer.recipient_id,
        transfer.kind,
        transfer.amount,
        transfer.currency,
        transfer.from_wallet_id,
        transfer.to_wallet_id,
        transfer.description,
        None if transfer.metadata is None else json.dumps(transfer.metadata),
        transfer.request_hash,
        draft.request_id,
        draft.traceparent,
        transfer.created_at,
        transfer.expires_at,
        draft.idempotency_key,
        draft.key_hash,
    )


async def finalize_transfers(connection: Connection, results: Sequence[WalletResult]) -> list[Record]:
    """Record the outcomes of PENDING transfers; returns the rows that changed."""
    return list(await connection.fetch(statements.finalize_transfers, *zip(*results, strict=True)))


async def find_finalized_horizon(connection: Connection, grace_seconds: float) -> datetime:
    """The time below which no finalized transfer can appear any more; at least `grace_seconds` ago."""
    horizon: datetime = await connection.fetchval(statements.find_finalized_horizon, grace_seconds)
    return horizon


async def list_finalized(connection: Connection, after: Finalized, horizon: datetime, limit: int) -> list[Finalized]:
    """Transfers finalized after a position and before a time, in that order."""
    rows = await connection.fetch(statements.list_finalized, *after, horizon, limit)
    return [Finalized(*row) for row in rows]


async def list_pending(
    connection: Connection, expires_after: datetime, *, age_seconds: float, limit: int
) -> list[Record]:
    """PENDING transfers of at least this age that expire at or after a time, by expiry."""
    return list(await connection.fetch(statements.list_pending, expires_after, age_seconds, limit))


async def list_late(connection: Connection, expected_after: datetime, limit: int) -> list[Record]:
    """PENDING transfers that were expected to be final at or after a time, and before now, in that order."""
    return list(await connection.fetch(statements.list_late, expected_after, limit))


async def list_outcomes(connection: Connection, transfer_ids: Sequence[UUID]) -> list[Record]:
    """Those of the transfers that have their outcome, as `finalize_transfers` returns them."""
    return list(await connection.fetch(statements.list_outcomes, transfer_ids))


async def record_attempts(connection: Connection, attempts: Mapping[UUID, str]) -> None:
    """Record attempts of a worker that could not finish."""
    await connection.execute(statements.record_attempts, list(attempts), list(attempts.values()))


async def mark_conflicted(connection: Connection, transfer_ids: Sequence[UUID]) -> int:
    """Mark transfers as conflicted; how many were not marked before."""
    return len(await connection.fetch(statements.mark_conflicted, sorted(transfer_ids)))


async def list_stale(connection: Connection, limit: int) -> list[tuple[UUID, bytes]]:
    """Ids and request hashes of PENDING transfers past their expiry, oldest first."""
    return [(row["id"], row["request_hash"]) for row in await connection.fetch(statements.list_stale, limit)]


async def find_transfers(connection: Connection, transfer_ids: Sequence[UUID]) -> dict[UUID, Transfer]:
    """The transfers with these ids."""
    rows = await connection.fetch(statements.find_transfers, transfer_ids)
    return {row["id"]: _transfer(row) for row in rows}


async def find_transfer_states(connection: Connection, transfer_ids: Sequence[UUID]) -> dict[UUID, TransferState]:
    """Find the states of transfers by id."""
    rows = await connection.fetch(statements.find_transfer_states, transfer_ids)
    return {
        row["id"]: TransferState(row["status"], row["is_conflicted"], row["is_expired"], tuple(row)[4:]) for row in rows
    }


async def list_terminal(connection: Connection, transfer_ids: Sequence[UUID]) -> list[UUID]:
    """Those of the transfers that have their outcome."""
    return [row["id"] for row in await connection.fetch(statements.list_terminal, transfer_ids)]


async def list_transfers(
    connection: Connection, viewer: UUID, *, below: Position, matching: Filter, limit: int
) -> list[Transfer]:
    """A page of what this user may see, newest first, below a position."""
    upper = upper_bound(matching.until, below, LOWEST_ID)
    parameters = (viewer, matching.status, matching.kind, matching.since, *upper, limit)
    if matching.wallet_id is None:
        rows = await connection.fetch(statements.list_transfers, *parameters)
    else:
        rows = await connection.fetch(statements.list_transfers_of_wallet, *parameters, matching.wallet_id)
    return [_transfer(row) for row in rows]


async def find_by_key(connection: Connection, user_id: UUID, key: str) -> UUID | None:
    """Find the transfer that this user's key made."""
    found: UUID | None = await connection.fetchval(statements.find_by_key, user_id, key)
    return found


async def list_pending_amounts(connection: Connection, owners: Mapping[UUID, UUID]) -> dict[UUID, dict[UUID, int]]:
    """Per wallet, the amounts of its outgoing PENDING transfers by transfer id, in minor units. `owners`: owner by wallet."""
    pending: dict[UUID, dict[UUID, int]] = {wallet_id: {} for wallet_id in owners}
    rows = await connection.fetch(statements.list_pending_amounts, list(owners.values()), list(owners), PENDING_MAX)
    for row in rows:
        pending[row["from_wallet_id"]][row["id"]] = row["amount"]
    return pending


async def find_wallets(
    connection: Connection, ids: Sequence[UUID], owners: Sequence[tuple[UUID, str]], external: Sequence[str]
) -> list[WalletFacts]:
    """Stored wallets by id, by (owner, currency), and external accounts by currency."""
    rows = await connection.fetch(
        statements.find_wallets, ids, [owner for owner, _ in owners], [currency for _, currency in owners], external
    )
    return [WalletFacts(*row) for row in rows]


async def insert_wallets(connection: Connection, wallets: Sequence[WalletFacts]) -> None:
    """Add wallets, permanently."""
    await connection.execute(statements.insert_wallets, *zip(*sorted(wallets, key=lambda facts: facts.id), strict=True))


async def list_freeze_hints(connection: Connection, wallet_ids: Sequence[UUID]) -> set[UUID]:
    """Those of the wallets that may be frozen."""
    return {row["wallet_id"] for row in await connection.fetch(statements.list_freeze_hints, wallet_ids)}


async def set_freeze_hint(connection: Connection, wallet_id: UUID, *, frozen: bool) -> None:
    """Record that an operator froze this wallet, or remove the record."""
    await connection.execute(statements.insert_freeze_hint if frozen else statements.delete_freeze_hint, wallet_id)


async def find_steps(connection: Connection, transfer_id: UUID) -> Record | None:
    """Everything that this service recorded about one transfer."""
    return await connection.fetchrow(statements.find_steps, transfer_id, earlier_id(transfer_id, BATCH_SECONDS_MAX))


async def record_heartbeat(connection: Connection, name: str, state: Mapping[str, Any]) -> None:
    """Record that a background process is alive, and its state."""
    await connection.execute(statements.record_heartbeat, name, json.dumps(state))


async def delete_old_heartbeats(connection: Connection, seconds: float) -> None:
    """Delete the heartbeats of processes that have been silent for so long."""
    await connection.execute(statements.delete_old_heartbeats, seconds)


async def list_heartbeats(connection: Connection) -> dict[str, dict[str, Any]]:
    """The last state of each background process by name, with its `age_seconds`."""
    rows = await connection.fetch(statements.list_heartbeats)
    return {row["name"]: json.loads(row["state"]) | {"age_seconds": row["age_seconds"]} for row in rows}


async def measure_pending(connection: Connection) -> Record:
    """Measure `pending`, `oldest_seconds` and `stale`."""
    row = await connection.fetchrow(statements.measure_pending)
    assert row is not None, "an aggregate always has a row"
    return row


def _transfer(row: Record) -> Transfer:
    values = dict(row)
    values["metadata"] = None if row["metadata"] is None else json.loads(row["metadata"])
    return Transfer(**values)
