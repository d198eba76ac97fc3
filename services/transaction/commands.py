"""Commands of the transaction service. Each is one database transaction; no other module opens one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import structlog

from services.chassis import audit, database, outbox, replication
from services.chassis.database import CommitUnknown, DatabaseUnavailable, LockTimeout, Pool, Record
from services.chassis.outbox import Item
from services.contracts.identifiers import new_id
from services.contracts.messages import TransferCommand, TransferEvent, encode_item
from services.contracts.refusal import Refusal
from services.contracts.refusals.transaction import IdempotencyKeyInUse, IdempotencyKeyReused, TransferNotFound
from services.contracts.topology import TRANSFERS_FINALIZED
from services.contracts.transfer_kinds import KINDS
from services.transaction import metrics, store
from services.transaction.store import (
    Draft,
    Filter,
    Finalized,
    Key,
    Keys,
    Position,
    TransferState,
    WalletFacts,
    WalletResult,
)
from services.transaction.transfer import COMPLETED, Transfer

ALONE_MAX = 6
"""How many drafts are recorded separately at a time, when their batch waits for a lock."""

PENDING_AGE_SECONDS = 0.25
"""Transfers that are final sooner are not listed as pending: their PENDING event is recorded with the outcome."""

FINALIZED_GRACE_SECONDS = 5.0
"""How long the message of an outcome may take before the catch-up is given the outcome. After a failover the clock of the new
primary may be behind by as much: what it finalizes still comes after everything that was listed before."""

LOGGED_MAX = 64
"""How many transfers one log line names at most: collectors cut lines longer than 16 kB."""

log = structlog.get_logger()


class Accepted(NamedTuple):
    """A transfer as its accepting commit recorded it; `replayed` when that commit was an earlier one."""

    transfer: Transfer
    replayed: bool


class Lost(NamedTuple):
    """A draft that was not recorded: another request used its key first."""

    transfer_id: UUID


class Replays(NamedTuple):
    """Used keys and the transfers they made, all replicated."""

    used: Mapping[tuple[UUID, str], Key]
    first: Mapping[UUID, Transfer]

    def response_to(self, pair: tuple[UUID, str], key_hash: bytes) -> Accepted | Refusal:
        """The response to a used (user, key) pair: that of its first request, or a refusal if that request was different."""
        key = self.used[pair]
        if key.request_hash != key_hash:
            return IdempotencyKeyReused()
        return Accepted(self.first[key.transfer_id].as_accepted(), replayed=True)


async def find_keys(pool: Pool, pairs: Sequence[tuple[UUID, str]]) -> Keys:
    """Find used (user, key) pairs, and read the clock that dates new transfers and which wallets may be frozen."""
    async with database.connection(pool) as connection:
        return await store.find_keys(connection, pairs)


async def accept_transfers(pool: Pool, drafts: Sequence[Draft]) -> list[Accepted | Lost | Refusal]:
    """Record PENDING transfers with their keys and commands in one commit; the result of each draft, in order.

    A draft is lost when its key was used since it was looked up. IdempotencyKeyInUse: another request with its key is
    still being accepted, beyond the lock timeout; the other drafts are accepted.

    Raises:
        CommitUnknown: all or nothing may be recorded; send the same keys again to find out.
        DatabaseUnavailable: nothing was recorded.
    """
    try:
        new = await _record(pool, drafts)
    except LockTimeout:
        if len(drafts) == 1:
            return [IdempotencyKeyInUse()]
        # The lock of one key is held: record each draft separately and concurrently, so that only that one waits on.
        return await _accept_separately(pool, drafts)
    return [
        Accepted(draft.transfer, replayed=False) if draft.transfer.id in new else Lost(draft.transfer.id)
        for draft in drafts
    ]


async def _accept_separately(pool: Pool, drafts: Sequence[Draft]) -> list[Accepted | Lost | Refusal]:
    turn = asyncio.Semaphore(ALONE_MAX)

    async def accept(draft: Draft) -> Accepted | Lost | Refusal:
        async with turn:
            try:
                [result] = await accept_transfers(pool, [draft])
            except DatabaseUnavailable as unavailable:
                # Of this draft only: the others have their own commits.
                return unavailable
            return result

    return await asyncio.gather(*(accept(draft) for draft in drafts))


async def _record(pool: Pool, drafts: Sequence[Draft]) -> set[UUID]:
    items = [encode_item(_command(draft)) for draft in drafts]
    audited = [draft for draft in drafts if KINDS[draft.transfer.kind].is_audited]
    commit = database.transaction if audited else database.single_statement
    async with commit(pool) as connection:
        new_ids = await store.accept_transfers(connection, drafts, items, notify=outbox.must_notify(len(items)))
        if entries := [_audit_entry(draft) for draft in audited if draft.transfer.id in new_ids]:
            await audit.append(connection, entries)
    metrics.count_accepted(draft.transfer.kind for draft in drafts if draft.transfer.id in new_ids)
    return new_ids


async def find_replays(pool: Pool, pairs: Sequence[tuple[UUID, str]]) -> Replays:
    """Find the transfer of each used (user, key) pair.

    Raises:
        CommitUnknown: they are recorded, but may not be replicated.
    """
    try:
        async with database.transaction(pool) as connection:
            used = (await store.find_keys(connection, pairs)).used
            first = await store.find_transfers(connection, [key.transfer_id for key in used.values()])
            await replication.await_replication(connection)
    except DatabaseUnavailable as unavailable:
        raise CommitUnknown from unavailable
    return Replays(used, first)


async def find_transfers(pool: Pool, transfer_ids: Sequence[UUID]) -> dict[UUID, Transfer]:
    """Find transfers by id."""
    async with database.connection(pool) as connection:
        return await store.find_transfers(connection, transfer_ids)


async def find_transfer_states(pool: Pool, transfer_ids: Sequence[UUID]) -> dict[UUID, TransferState]:
    """Find the states of transfers by id."""
    async with database.connection(pool) as connection:
        return await store.find_transfer_states(connection, transfer_ids)


async def finalize_transfers(pool: Pool, results: Sequence[WalletResult]) -> int:
    """Record outcomes of the wallet: the status and its event in one commit, once. Returns how many transfers changed.

    Afterwards all of them have their outcome, replicated: their commands may be acknowledged.

    Raises:
        CommitUnknown: all or nothing may be applied; apply again.
        DatabaseUnavailable, LockTimeout: nothing was applied; apply again.
    """
    if not results:
        return 0
    async with database.transaction(pool) as connection:
        moved = await store.finalize_transfers(connection, results)
        if moved:
            events = [_event(row) for row in moved]
            items = [Item(event.event_id, event.transfer_id, encode_item(event)) for event in events]
            await outbox.append(connection, TRANSFERS_FINALIZED, items)
        else:
            await replication.await_replication(connection)
    if moved:
        metrics.count_finalized(moved)
        _log_finalized(moved)
    return len(moved)


def _log_finalized(rows: Sequence[Record]) -> None:
    transfers = [f"{row['id']} {row['status']} {row['request_id']}" for row in rows]
    for start in range(0, len(transfers), LOGGED_MAX):
        part = transfers[start : start + LOGGED_MAX]
        log.info("transfers_finalized", items=len(part), transfers=part)


async def list_finalized(pool: Pool, after: Finalized, limit: int) -> list[Finalized]:
    """List what was finalized after a position, in order. Nothing can appear later below what was listed."""
    async with database.connection(pool) as connection:
        # Two statements with two snapshots: a transaction that was open at the first one has ended, or is above the horizon.
        horizon = await store.find_finalized_horizon(connection, FINALIZED_GRACE_SECONDS)
        return await store.list_finalized(connection, after, horizon, limit)


async def list_pending(pool: Pool, expires_after: datetime, limit: int) -> list[Record]:
    """List transfers that have been PENDING for a moment and expire at or after a time, by expiry."""
    async with database.connection(pool) as connection:
        return await store.list_pending(connection, expires_after, age_seconds=PENDING_AGE_SECONDS, limit=limit)


async def list_late(pool: Pool, expected_after: datetime, limit: int) -> list[Record]:
    """List PENDING transfers that were expected to be final at or after a time, and before now, in that order."""
    async with database.connection(pool) as connection:
        return await store.list_late(connection, expected_after, limit)


async def list_events(pool: Pool, transfer_ids: Sequence[UUID]) -> list[TransferEvent]:
    """The events of those transfers that have their outcome, under new event ids."""
    async with database.connection(pool) as connection:
        return [_event(row) for row in await store.list_outcomes(connection, transfer_ids)]


async def mark_conflicted(pool: Pool, transfer_ids: Sequence[UUID]) -> None:
    """Mark transfers that the wallet knows with another request. They stay PENDING until an operator resolves them."""
    async with database.transaction(pool) as connection:
        marked = await store.mark_conflicted(connection, transfer_ids)
        if not marked:
            await replication.await_replication(connection)
    if marked:
        metrics.CONFLICTED.inc(marked)
        log.error("transfer_conflicted", transfer_ids=[str(id_) for id_ in transfer_ids])


async def record_attempts(pool: Pool, attempts: Mapping[UUID, str]) -> None:
    """Record attempts of a worker that has these commands and waits."""
    async with database.transaction(pool) as connection:
        await store.record_attempts(connection, attempts)


async def list_stale(pool: Pool, limit: int) -> list[tuple[UUID, bytes]]:
    """Ids and request hashes of expired PENDING transfers."""
    async with database.connection(pool) as connection:
        return await store.list_stale(connection, limit)


async def get_transfer(pool: Pool, transfer_id: UUID, viewer: UUID) -> Transfer:
    """A transfer as this user may see it.

    Raises:
        TransferNotFound: unknown, or not visible to them.
    """
    async with database.connection(pool) as connection:
        found = (await store.find_transfers(connection, [transfer_id])).get(transfer_id)
    return _visible(found, viewer)


async def get_replicated_transfer(pool: Pool, transfer_id: UUID, viewer: UUID) -> Transfer:
    """As `get_transfer`, replicated: for a response that confirms an outcome."""
    async with database.transaction(pool) as connection:
        found = (await store.find_transfers(connection, [transfer_id])).get(transfer_id)
        await replication.await_replication(connection)
    return _visible(found, viewer)


async def list_terminal(pool: Pool, transfer_ids: Sequence[UUID]) -> list[UUID]:
    """Those that have their outcome, replicated."""
    async with database.connection(pool) as connection:
        if not await store.list_terminal(connection, transfer_ids):
            return []
    async with database.transaction(pool) as connection:
        terminal = await store.list_terminal(connection, transfer_ids)
        await replication.await_replication(connection)
    return terminal


async def list_transfers(pool: Pool, viewer: UUID, *, below: Position, matching: Filter, limit: int) -> list[Transfer]:
    """A page of what this user may see, newest first."""
    async with database.connection(pool) as connection:
        page = await store.list_transfers(connection, viewer, below=below, matching=matching, limit=limit)
    return [visible for transfer in page if (visible := transfer.visible_to(viewer)) is not None]


async def find_by_key(pool: Pool, user_id: UUID, key: str) -> Transfer | None:
    """The transfer that this user's key made, replicated: to the client it is accepted."""
    async with database.transaction(pool) as connection:
        transfer_id = await store.find_by_key(connection, user_id, key)
        if transfer_id is None:
            return None
        await replication.await_replication(connection)
        return (await store.find_transfers(connection, [transfer_id]))[transfer_id]


async def find_steps(pool: Pool, transfer_id: UUID) -> tuple[Record, dict[str, dict[str, Any]]]:
    """What this service recorded about one transfer, and the heartbeats of the background processes.

    Raises:
        TransferNotFound
    """
    async with database.connection(pool) as connection:
        row = await store.find_steps(connection, transfer_id)
        if row is None:
            raise TransferNotFound
        return row, await store.list_heartbeats(connection)


async def find_wallets(
    pool: Pool, *, ids: Sequence[UUID], owners: Sequence[tuple[UUID, str]], external: Sequence[str]
) -> list[WalletFacts]:
    """Find wallets in the directory."""
    async with database.connection(pool) as connection:
        return await store.find_wallets(connection, ids, owners, external)


async def record_wallets(pool: Pool, wallets: Sequence[WalletFacts]) -> None:
    """Add wallets to the directory, permanently."""
    async with database.transaction(pool) as connection:
        await store.insert_wallets(connection, wallets)


async def list_pending_amounts(pool: Pool, owners: Mapping[UUID, UUID]) -> dict[UUID, dict[UUID, int]]:
    """Per wallet, the amounts of its outgoing PENDING transfers by transfer id. `owners`: owner by wallet."""
    async with database.connection(pool) as connection:
        return await store.list_pending_amounts(connection, owners)


async def list_freeze_hints(pool: Pool, wallet_ids: Sequence[UUID]) -> set[UUID]:
    """Those of the wallets that may be frozen."""
    async with database.connection(pool) as connection:
        return await store.list_freeze_hints(connection, wallet_ids)


async def set_freeze_hint(pool: Pool, wallet_id: UUID, *, frozen: bool) -> None:
    """Record that an operator froze a wallet, or remove the record when it is unfrozen."""
    async with database.transaction(pool) as connection:
        await store.set_freeze_hint(connection, wallet_id, frozen=frozen)


async def measure_outbox(pool: Pool) -> Record:
    """How many commands and events are not confirmed, and the age of the oldest."""
    async with database.connection(pool) as connection:
        return await outbox.measure(connection)


def _visible(found: Transfer | None, viewer: UUID) -> Transfer:
    visible = found.visible_to(viewer) if found is not None else None
    if visible is None:
        raise TransferNotFound
    return visible


def _command(draft: Draft) -> TransferCommand:
    transfer = draft.transfer
    return TransferCommand(
        transfer_id=transfer.id,
        source_id=transfer.from_wallet_id,
        destination_id=transfer.to_wallet_id,
        amount=transfer.amount,
        currency=transfer.currency,
        description=transfer.description,
        request_hash=transfer.request_hash.hex(),
        accepted_at=transfer.created_at,
        expires_at=transfer.expires_at,
        request_id=draft.request_id,
        traceparent=draft.traceparent,
    )


def _audit_entry(draft: Draft) -> audit.AuditEntry:
    transfer = draft.transfer
    return audit.AuditEntry(
        f"{transfer.kind}_accepted",
        actor_id=transfer.user_id,
        subject_kind="transfer",
        subject_id=transfer.id,
        request_id=draft.request_id,
        user_id=transfer.recipient_id,
        detail={"wallet_id": str(transfer.to_wallet_id), "amount": transfer.amount, "currency": transfer.currency},
    )


def _event(row: Record) -> TransferEvent:
    return TransferEvent(
        event_id=new_id(),
        type="transfer.completed" if row["status"] == COMPLETED else "transfer.failed",
        transfer_id=row["id"],
        kind=row["kind"],
        amount=row["amount"],
        currency=row["currency"],
        from_wallet_id=row["from_wallet_id"],
        to_wallet_id=row["to_wallet_id"],
        sender_id=row["user_id"],
        recipient_id=row["recipient_id"],
        description=row["description"],
        failure_code=row["failure_code"],
        occurred_at=row["at"],
        request_id=row["request_id"],
        traceparent=row["traceparent"],
    )
