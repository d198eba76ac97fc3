"""What the transaction service does to its database: one database transaction per function, and nowhere else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import structlog

from services.chassis import audit, database, outbox, replication
from services.chassis.database import CommitUnknown, DatabaseUnavailable, LockTimeout, Pool, Record
from services.chassis.outbox import Row
from services.contracts.identifiers import new_id
from services.contracts.messages import TransferCommand, TransferEvent, encode_item
from services.contracts.refusal import Refusal
from services.contracts.refusals.transaction import IdempotencyKeyInUse, IdempotencyKeyReused, TransferNotFound
from services.contracts.topology import TRANSFERS_FINALIZED, TRANSFERS_REQUESTED
from services.contracts.transfer_kinds import KINDS
from services.transaction import metrics, simulation, store
from services.transaction.simulation import Simulation
from services.transaction.store import Filter, Finalized, Key, Keys, Position, Standing, Told, WalletFacts
from services.transaction.transfer import COMPLETED, Transfer

ALONE_MAX = 6
"""How many drafts are tried by themselves at a time, when their batch is held up."""

PENDING_AGE_SECONDS = 0.25
"""What is done sooner than this is told with its outcome: nobody has to be asked about most transfers."""

FINALIZED_GRACE_SECONDS = 5.0
"""How long an event has to arrive before anybody is told that it should have. If another server takes over, its clock may be
behind by as much: what it finalizes is still above everything that was listed before."""

log = structlog.get_logger()


class Draft(NamedTuple):
    """A transfer about to be accepted, with the key that must be new and the ids that its messages carry on."""

    transfer: Transfer
    idempotency_key: str
    key_hash: bytes
    request_id: str
    traceparent: str | None
    simulation: Simulation = simulation.NONE


class Accepted(NamedTuple):
    """A transfer as its accepting commit recorded it; `replayed` when that commit was an earlier one."""

    transfer: Transfer
    replayed: bool


class Lost(NamedTuple):
    """A draft that was not recorded: another request used its key first."""

    transfer_id: UUID


class Replays(NamedTuple):
    """What used keys were used for, and the transfers that they made, all of it replicated."""

    used: Mapping[tuple[UUID, str], Key]
    first: Mapping[UUID, Transfer]

    def response_to(self, pair: tuple[UUID, str], key_hash: bytes) -> Accepted | Refusal:
        """The response to a used (user, key) pair: that of its first request, or that it belongs to another request."""
        key = self.used[pair]
        if key.request_hash != key_hash:
            return IdempotencyKeyReused()
        return Accepted(self.first[key.transfer_id].as_accepted(), replayed=True)


async def find_keys(pool: Pool, pairs: Sequence[tuple[UUID, str]]) -> Keys:
    """What these (user, key) pairs were used for, and the clock by which a new transfer is dated."""
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
        # One key is held up: each draft by itself, side by side, so that only that one goes on waiting.
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
                # Of this draft alone: the commits of the others are their own.
                return unavailable
            return result

    return await asyncio.gather(*(accept(draft) for draft in drafts))


async def _record(pool: Pool, drafts: Sequence[Draft]) -> set[UUID]:
    keys = [(d.transfer.user_id, d.idempotency_key, d.key_hash, d.transfer.id) for d in drafts]
    async with database.transaction(pool) as connection:
        new_ids = await store.insert_keys(connection, keys)
        new = [draft for draft in drafts if draft.transfer.id in new_ids]
        if new:
            await store.insert_transfers(connection, [(d.transfer, d.request_id, d.traceparent) for d in new])
            rows = [Row(draft.transfer.id, encode_item(_command(draft))) for draft in new]
            await outbox.append(connection, TRANSFERS_REQUESTED, rows)
            for draft in new:
                if draft.simulation.held_seconds:
                    await outbox.delay(connection, [draft.transfer.id], draft.simulation.held_seconds)
        if audited := [draft for draft in new if KINDS[draft.transfer.kind].is_audited]:
            await audit.append(connection, [_audit_entry(draft) for draft in audited])
    for draft in new:
        metrics.ACCEPTED.labels(draft.transfer.kind).inc()
    return new_ids


async def find_replays(pool: Pool, pairs: Sequence[tuple[UUID, str]]) -> Replays:
    """Find the first response to each used (user, key) pair.

    Raises:
        CommitUnknown: they are recorded, and not known to be replicated.
    """
    try:
        async with database.transaction(pool) as connection:
            used = (await store.find_keys(connection, pairs)).used
            first = await store.find_transfers(connection, [key.transfer_id for key in used.values()])
            await replication.await_replication(connection)
    except DatabaseUnavailable as away:
        raise CommitUnknown from away
    return Replays(used, first)


async def find_transfers(pool: Pool, transfer_ids: Sequence[UUID]) -> dict[UUID, Transfer]:
    """The transfers with these ids."""
    async with database.connection(pool) as connection:
        return await store.find_transfers(connection, transfer_ids)


async def find_standings(pool: Pool, transfer_ids: Sequence[UUID]) -> dict[UUID, Standing]:
    """Where those of these transfers stand that are known."""
    async with database.connection(pool) as connection:
        return await store.find_standings(connection, transfer_ids)


async def finalize_transfers(pool: Pool, told: Sequence[Told]) -> int:
    """Apply what the wallet told, whoever asked it: the status and its event in one commit, once; how many moved.

    When it returns all of them have their outcome on record, replicated: their commands may be acknowledged.

    Raises:
        CommitUnknown: all or nothing may be applied; apply again.
        DatabaseUnavailable, LockTimeout: nothing was applied; apply again.
    """
    if not told:
        return 0
    async with database.transaction(pool) as connection:
        moved = await store.finalize_transfers(connection, told)
        if moved:
            events = [_event(row) for row in moved]
            rows = [Row(event.event_id, encode_item(event)) for event in events]
            await outbox.append(connection, TRANSFERS_FINALIZED, rows)
        else:
            await replication.await_replication(connection)
    now = time.time()
    for row in moved:
        metrics.FINALIZED.labels(row["kind"], row["failure_code"] or "completed").inc()
        metrics.DURATION.observe(max(0.0, now - row["created_at"].timestamp()))
        log.info("transfer_finalized", transfer_id=str(row["id"]), status=row["status"], request_id=row["request_id"])
    return len(moved)


async def list_finalized(pool: Pool, after: Finalized, limit: int) -> list[Finalized]:
    """What was finalized after this place, in order; what is listed is never joined by something before it."""
    async with database.connection(pool) as connection:
        # Two statements, each with its own look: whoever was writing at the first one has ended, or is above the horizon.
        horizon = await store.find_finalized_horizon(connection, FINALIZED_GRACE_SECONDS)
        return await store.list_finalized(connection, after, horizon, limit)


async def list_accepted(pool: Pool, expires_after: datetime, limit: int) -> list[Record]:
    """What is PENDING for a moment already and expires from then on, in that order."""
    async with database.connection(pool) as connection:
        return await store.list_accepted(connection, expires_after, age_seconds=PENDING_AGE_SECONDS, limit=limit)


async def list_events(pool: Pool, transfer_ids: Sequence[UUID]) -> list[TransferEvent]:
    """The events of those transfers that have their outcome, told again under new event ids."""
    async with database.connection(pool) as connection:
        return [_event(row) for row in await store.list_outcomes(connection, transfer_ids)]


async def mark_conflicted(pool: Pool, transfer_ids: Sequence[UUID]) -> None:
    """The wallet knows these ids with another request: leave them PENDING for a human, on record."""
    async with database.transaction(pool) as connection:
        marked = await store.mark_conflicted(connection, transfer_ids)
        if not marked:
            await replication.await_replication(connection)
    if marked:
        metrics.CONFLICTED.inc(marked)
        log.error("transfer_conflicted", transfer_ids=[str(id_) for id_ in transfer_ids])


async def note_attempts(pool: Pool, attempts: Mapping[UUID, str]) -> None:
    """Write down that a worker has these in hand and waits."""
    async with database.transaction(pool) as connection:
        await store.note_attempts(connection, attempts)


async def list_stale(pool: Pool, limit: int) -> list[tuple[UUID, bytes]]:
    """Ids and request hashes of what has outlived its expiry."""
    async with database.connection(pool) as connection:
        return await store.list_stale(connection, limit)


async def get_transfer(pool: Pool, transfer_id: UUID, viewer: UUID) -> Transfer:
    """A transfer as this user may see it.

    Raises:
        TransferNotFound: unknown, or not theirs to see.
    """
    async with database.connection(pool) as connection:
        found = (await store.find_transfers(connection, [transfer_id])).get(transfer_id)
    return _seen(found, viewer)


async def get_replicated_transfer(pool: Pool, transfer_id: UUID, viewer: UUID) -> Transfer:
    """A transfer as this user may see it, for a response that says what became of it. Raises as `get_transfer` does."""
    async with database.transaction(pool) as connection:
        found = (await store.find_transfers(connection, [transfer_id])).get(transfer_id)
        await replication.await_replication(connection)
    return _seen(found, viewer)


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
    return [seen for transfer in page if (seen := transfer.seen_by(viewer)) is not None]


async def find_by_key(pool: Pool, user_id: UUID, key: str) -> Transfer | None:
    """What this user's key made, replicated: the requester takes it for accepted."""
    async with database.transaction(pool) as connection:
        transfer_id = await store.find_by_key(connection, user_id, key)
        if transfer_id is None:
            return None
        await replication.await_replication(connection)
        return (await store.find_transfers(connection, [transfer_id]))[transfer_id]


async def find_steps(pool: Pool, transfer_id: UUID) -> tuple[Record, dict[str, dict[str, Any]]]:
    """The way of one transfer so far, and how the background processes fare.

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
    """Wallets from the directory."""
    async with database.connection(pool) as connection:
        return await store.find_wallets(connection, ids, owners, external)


async def remember_wallets(pool: Pool, wallets: Sequence[WalletFacts]) -> None:
    """Write wallets into the directory, for good."""
    async with database.transaction(pool) as connection:
        await store.insert_wallets(connection, wallets)


async def read_under_way(
    pool: Pool, owners: Mapping[UUID, UUID], wallets: Sequence[UUID]
) -> tuple[dict[UUID, dict[UUID, int]], set[UUID]]:
    """What the wallets in `owners` have under way, and which of `wallets` may be frozen. `owners`: owner by wallet."""
    async with database.connection(pool) as connection:
        return await store.list_pending_of(connection, owners), await store.list_freeze_hints(connection, wallets)


async def list_freeze_hints(pool: Pool, wallet_ids: Sequence[UUID]) -> set[UUID]:
    """Those of the wallets that may be frozen."""
    async with database.connection(pool) as connection:
        return await store.list_freeze_hints(connection, wallet_ids)


async def set_freeze_hint(pool: Pool, wallet_id: UUID, *, frozen: bool) -> None:
    """An operator froze or unfrozen a wallet."""
    async with database.transaction(pool) as connection:
        await store.set_freeze_hint(connection, wallet_id, frozen=frozen)


async def beat(pool: Pool, name: str, state: Mapping[str, Any]) -> None:
    """Say that a background process is alive, and how it fares."""
    async with database.transaction(pool) as connection:
        await store.beat(connection, name, state)


async def list_heartbeats(pool: Pool) -> dict[str, dict[str, Any]]:
    """How the background processes fare."""
    async with database.connection(pool) as connection:
        return await store.list_heartbeats(connection)


async def measure(pool: Pool) -> tuple[Record, dict[str, dict[str, Any]]]:
    """What is under way, and how the background processes fare."""
    async with database.connection(pool) as connection:
        return await store.measure_pending(connection), await store.list_heartbeats(connection)


async def measure_outbox(pool: Pool) -> Record:
    """How many outbox rows no confirm covers yet, and how old the oldest is."""
    async with database.connection(pool) as connection:
        return await outbox.measure(connection)


def _seen(found: Transfer | None, viewer: UUID) -> Transfer:
    seen = found.seen_by(viewer) if found is not None else None
    if seen is None:
        raise TransferNotFound
    return seen


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
