"""What is recorded of a transfer, field by field and count by count."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.chassis.consumer import Delivery
from services.contracts.identifiers import first_id_at, new_id
from services.contracts.messages import TransferCommand, TransferEvent, decode_command, decode_event, format_time
from services.contracts.topology import TRANSFERS_FINALIZED, TRANSFERS_REQUESTED, Route
from services.transaction import commands, commands_heartbeats, metrics, steps
from services.transaction.commands import Accepted
from services.transaction.simulation import Simulation
from services.transaction.store import Finalized
from services.transaction.transfer import Transfer, request_hash
from services.transaction.worker import Worker
from tests.harness.outbox_items import list_items
from tests.harness.services import MoneyPath, accept, request

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNCHECKED = Simulation(unchecked=True)
SENT_AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


async def accepted(path: MoneyPath, *amounts: int, **changes: Any) -> list[Transfer]:
    """PENDING transfers of these amounts from Alice, who has 1,000, to Bob."""
    [(alice, _), (_, bob_wallet)] = await path.users([1000, 0])
    changes = {"simulation": UNCHECKED} | changes
    results = await accept(path.intake(), *(request(alice, bob_wallet, amount, **changes) for amount in amounts))
    return [result.transfer for result in results if isinstance(result, Accepted)]


async def outbox(path: MoneyPath, route: Route) -> list[dict[str, Any]]:
    return [json.loads(item) for item in await list_items(path.pool, route)]


async def commands_of(path: MoneyPath) -> list[TransferCommand]:
    return [decode_command(item) for item in await outbox(path, TRANSFERS_REQUESTED)]


def delivered(items: Sequence[TransferCommand], *, attempt: int = 1) -> list[Delivery[TransferCommand]]:
    return [Delivery(item, attempt, redelivered=attempt > 1, sent_at=SENT_AT) for item in items]


async def progress(path: MoneyPath, transfer_id: UUID) -> tuple[str | None, set[str]]:
    """What the transfer waits for, and its steps."""
    row, _ = await commands.find_steps(path.pool, transfer_id)
    found = steps.describe(dict(row), {})
    return found.waiting_for, {step["step"] for step in found.steps}


async def test_each_transfer_of_a_batch_is_queued(path: MoneyPath) -> None:
    """Before the relay publishes their common row, all wait for the relay; afterwards all show when they were queued."""
    batch, delayed = await accepted(path, 1, 2, 3), await accepted(path, 4, simulation=Simulation(delay_seconds=60))
    [old] = await accepted(path, 5)
    await path.pool.execute("UPDATE outbox SET subject_ids = NULL WHERE id = $1", old.id)
    everything = [*batch, old, *delayed]

    before = [await progress(path, transfer.id) for transfer in everything]
    await path.pool.execute("UPDATE outbox SET published_at = clock_timestamp(), body = '' WHERE claimed_until IS NULL")
    after = [await progress(path, transfer.id) for transfer in everything]

    assert [("relay", {"accepted"})] * 5 == before
    assert [("worker", {"accepted", "queued"})] * 4 + [("relay", {"accepted"})] == after


async def test_an_unpublished_event_is_not_a_command(path: MoneyPath) -> None:
    """The row of an event has the id of the transfer too: the time of the command is that of its own row."""
    [transfer] = await accepted(path, 1)
    await path.pool.execute("DELETE FROM outbox")
    await path.pool.execute(
        "INSERT INTO outbox (id, topic, body, subject_ids) VALUES ($1, 'transfers.finalized', '{}', $2)",
        first_id_at(transfer.created_at.timestamp() - 1),
        [transfer.id],
    )

    assert ("worker", {"accepted"}) == await progress(path, transfer.id)


def worker(path: MoneyPath, *, unavailable: bool = False) -> Worker:
    wallet = path.wallet("transaction-worker")
    if unavailable:
        wallet._upstream._base_url = "http://127.0.0.1:9"
    return Worker(path.pool, wallet, "worker-7")


async def attempts_of(path: MoneyPath, transfer_id: UUID) -> list[dict[str, Any]]:
    text = await path.pool.fetchval("SELECT attempts FROM transfers WHERE id = $1", transfer_id)
    found: list[dict[str, Any]] = json.loads(text)
    return found


async def test_command_has_every_accepted_field(path: MoneyPath) -> None:
    """Every field of the command is that of the accepted transfer and its request."""
    [transfer] = await accepted(path, 10, description="Miete", request_id="the-request-1", traceparent=TRACE)

    assert [
        TransferCommand(
            transfer_id=transfer.id,
            source_id=transfer.from_wallet_id,
            destination_id=transfer.to_wallet_id,
            amount=10,
            currency="USD",
            description="Miete",
            request_hash=transfer.request_hash.hex(),
            accepted_at=transfer.created_at,
            expires_at=transfer.expires_at,
            request_id="the-request-1",
            traceparent=TRACE,
        )
    ] == await commands_of(path)


async def test_accepted_fields_are_read_back(path: MoneyPath) -> None:
    """Description, metadata and every other field are read from the database as in the first response."""
    [transfer] = await accepted(path, 10, description="Miete", metadata={"order": 7, "tags": ["a"]})

    assert {transfer.id: transfer} == await commands.find_transfers(path.pool, [transfer.id])
    assert {"order": 7, "tags": ["a"]} == transfer.metadata


@pytest.mark.parametrize(("amount", "type_", "code"), [(10, "completed", None), (5000, "failed", "insufficient_funds")])
async def test_event_has_every_field(path: MoneyPath, amount: int, type_: str, code: str | None) -> None:
    """Every field of the event is that of the transfer and of the ledger's outcome; its id is new."""
    [transfer] = await accepted(path, amount, description="Miete", request_id="the-request-1", traceparent=TRACE)
    await worker(path).on_transfers_requested(delivered(await commands_of(path)))
    decided_at = await path.wallet_pool.fetchval("SELECT at FROM outcomes WHERE transfer_id = $1", transfer.id)

    [event] = [decode_event(item) for item in await outbox(path, TRANSFERS_FINALIZED)]

    assert event.event_id != transfer.id
    assert (
        TransferEvent(
            event_id=event.event_id,
            type=f"transfer.{type_}",
            transfer_id=transfer.id,
            kind="transfer",
            amount=amount,
            currency="USD",
            from_wallet_id=transfer.from_wallet_id,
            to_wallet_id=transfer.to_wallet_id,
            sender_id=transfer.user_id,
            recipient_id=transfer.recipient_id,
            description="Miete",
            failure_code=code,
            occurred_at=decided_at,
            request_id="the-request-1",
            traceparent=TRACE,
        )
        == event
    )


async def test_finalizing_attempt_is_recorded(path: MoneyPath) -> None:
    """With its number, its worker, whether it was redelivered, and when it was queued and picked up."""
    [transfer] = await accepted(path, 10)
    before = datetime.now(UTC)
    await worker(path).on_transfers_requested(delivered(await commands_of(path), attempt=3))

    [attempt] = await attempts_of(path, transfer.id)

    assert before <= datetime.fromisoformat(attempt.pop("picked_up_at")) <= datetime.now(UTC)
    assert {
        "number": 3, "worker": "worker-7", "redelivered": True, "queued_at": format_time(SENT_AT),
    } == attempt  # fmt: skip


async def test_attempts_are_recorded_once_and_at_most_twenty(path: MoneyPath) -> None:
    """A worker that waits for the wallet records each attempt once, at most twenty, and none after the outcome."""
    one, done = await accepted(path, 10, 20)
    waiting = worker(path, unavailable=True)
    by_id = {command.transfer_id: command for command in await commands_of(path)}
    await worker(path).on_transfers_requested(delivered([by_id[done.id]]))
    counts = []
    for number in (1, 1, 2, *range(3, 25)):
        with pytest.raises(Exception, match=r"."):
            await waiting.on_transfers_requested(delivered(list(by_id.values()), attempt=number))
        counts.append(len(await attempts_of(path, one.id)))

    assert [1, 1, 2] == counts[:3]
    assert [*range(1, 21)] == [attempt["number"] for attempt in await attempts_of(path, one.id)]
    assert waiting.wallet_unavailable
    assert [1] == [attempt["number"] for attempt in await attempts_of(path, done.id)]


async def test_heartbeat_of_a_worker(path: MoneyPath) -> None:
    """It has the number of transfers that this worker finalized, whether the wallet is unavailable, and the time."""
    await accepted(path, 10, 20)
    window = delivered(await commands_of(path))
    one = worker(path)
    for again in (window, window, [*window, *window]):
        await one.on_transfers_requested(again)
    await commands_heartbeats.record_heartbeat(path.pool, "worker-7", one._state())
    _, first = await commands_heartbeats.measure(path.pool)
    await path.pool.execute("UPDATE heartbeats SET at = at - interval '1 hour'")
    _, aged = await commands_heartbeats.measure(path.pool)
    one.wallet_unavailable = True
    await commands_heartbeats.record_heartbeat(path.pool, "worker-7", one._state())
    _, second = await commands_heartbeats.measure(path.pool)

    assert ("worker", 2, False) == tuple(
        first["worker-7"][name] for name in ("role", "finalized", "wallet_unavailable")
    )
    assert aged["worker-7"]["age_seconds"] > 3000 > second["worker-7"]["age_seconds"]
    assert ("worker", 2, True) == tuple(
        second["worker-7"][name] for name in ("role", "finalized", "wallet_unavailable")
    )


async def test_each_transfer_is_counted_once(path: MoneyPath) -> None:
    """Accepted, replayed, refused and finalized are counted one by one; a repeat is counted as a replay only."""
    [(alice, _), (_, bob_wallet)] = await path.users([100, 0])
    one, other = request(alice, bob_wallet, 1, key="one"), request(alice, bob_wallet, 2)
    results = ("accepted", "replayed", "same_wallet", "wallet_not_found")
    before = counted(results)

    await accept(path.intake(), one, one, other, request(alice, new_id(), 1))
    await accept(path.intake(), one)
    window = delivered(await commands_of(path))
    for _ in range(2):
        await worker(path).on_transfers_requested(window)

    after = counted(results)
    assert {
        "transfers": 2, "finalized": 2, "durations": 2, "accepted": 2, "replayed": 2, "same_wallet": 0, "wallet_not_found": 1,
    } == {name: after[name] - before[name] for name in after}  # fmt: skip


def counted(results: Sequence[str]) -> dict[str, float]:
    return {
        "transfers": metrics.ACCEPTED.labels("transfer")._value.get(),
        "finalized": metrics.FINALIZED.labels("transfer", "completed")._value.get(),
        "durations": sum(bucket.get() for bucket in metrics.DURATION._buckets),
        **{result: metrics.INTAKE.labels(result)._value.get() for result in results},
    }


async def test_pending_transfers_are_measured(path: MoneyPath) -> None:
    """How many are PENDING, the age of the oldest, and how many have expired; terminal ones do not count."""
    transfers = await accepted(path, 1, 2, 3, 4)
    by_id = {command.transfer_id: command for command in await commands_of(path)}
    await worker(path).on_transfers_requested(delivered([by_id[transfers[0].id]]))
    path.reversal_after = timedelta(milliseconds=1)
    await accepted(path, 5)
    await path.pool.execute("SELECT pg_sleep(0.05)")
    age = "SELECT extract(epoch FROM clock_timestamp() - min(created_at)) FROM transfers WHERE status = 'PENDING'"

    before = await path.pool.fetchval(age)
    row, _ = await commands_heartbeats.measure(path.pool)
    after = await path.pool.fetchval(age)

    assert (4, 1) == (row["pending"], row["stale"])
    assert before <= row["oldest_seconds"] <= after


async def test_only_terminal_transfers_have_an_event(path: MoneyPath) -> None:
    """A PENDING transfer has no event."""
    done, _pending = transfers = await accepted(path, 1, 2)
    by_id = {command.transfer_id: command for command in await commands_of(path)}
    await worker(path).on_transfers_requested(delivered([by_id[done.id]]))

    events = await commands.list_events(path.pool, [one.id for one in transfers])

    assert [(done.id, "transfer.completed")] == [(event.transfer_id, event.type) for event in events]
    [event] = [decode_event(item) for item in await outbox(path, TRANSFERS_FINALIZED)]
    assert event == replace(events[0], event_id=event.event_id)


async def test_key_finds_the_transfer_of_its_user_only(path: MoneyPath) -> None:
    """The same key of two users finds the transfer of each, and nothing for a third."""
    [(alice, alice_wallet), (bob, bob_wallet)] = await path.users([100, 100])
    intake = path.intake()
    results = await accept(
        intake, request(alice, bob_wallet, 1, key="k"), request(bob, alice_wallet, 2, key="k")
    )  # fmt: skip
    made = [result.transfer for result in results if isinstance(result, Accepted)]

    found = [await commands.find_by_key(path.pool, user, "k") for user in (alice, bob, new_id())]

    assert [*made, None] == found
    assert None is await commands.find_by_key(path.pool, alice, "K")


async def test_finalized_transfers_are_listed_after_a_position(
    path: MoneyPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list continues after a position, in order, up to its limit; new transfers are listed after the grace time."""
    transfers = await accepted(path, *range(1, 6))
    for command in await commands_of(path):
        await worker(path).on_transfers_requested(delivered([command]))
    start = Finalized(datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))
    monkeypatch.setattr(commands, "FINALIZED_GRACE_SECONDS", 3600.0)
    in_grace = await commands.list_finalized(path.pool, start, 10)
    monkeypatch.setattr(commands, "FINALIZED_GRACE_SECONDS", 0.0)

    first = await commands.list_finalized(path.pool, start, 2)
    rest = await commands.list_finalized(path.pool, first[-1], 10)

    assert [] == in_grace
    assert (2, 3) == (len(first), len(rest))
    assert [*first, *rest] == sorted([*first, *rest])
    assert {transfer.id for transfer in transfers} == {one.transfer_id for one in (*first, *rest)}
    assert [] == await commands.list_finalized(path.pool, rest[-1], 10)


async def test_pending_transfers_are_listed_by_expiry(path: MoneyPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a time on, in the order of expiry, up to the limit; not before they are old enough."""
    first, second, third = [*await accepted(path, 1), *await accepted(path, 2), *await accepted(path, 3)]
    monkeypatch.setattr(commands, "PENDING_AGE_SECONDS", 3600.0)
    young = await commands.list_pending(path.pool, first.expires_at, 10)
    monkeypatch.setattr(commands, "PENDING_AGE_SECONDS", 0.0)

    found = [await commands.list_pending(path.pool, second.expires_at, limit) for limit in (10, 1)]

    assert [] == young
    assert [[second.id, third.id], [second.id]] == [[row["id"] for row in rows] for rows in found]
    assert (second.amount, second.expires_at, second.user_id) == tuple(
        found[0][0][name] for name in ("amount", "expires_at", "user_id")
    )


def test_request_hash_covers_every_field() -> None:
    """Another account on either side, another amount or another currency under the same id is another request."""
    ids = [UUID(int=number) for number in range(4)]
    hashes = {
        request_hash(ids[0], ids[1], 10, "USD"),
        request_hash(ids[2], ids[1], 10, "USD"),
        request_hash(ids[0], ids[3], 10, "USD"),
        request_hash(ids[1], ids[0], 10, "USD"),
        request_hash(ids[0], ids[1], 11, "USD"),
        request_hash(ids[0], ids[1], 10, "EUR"),
    }

    assert 6 == len(hashes)
