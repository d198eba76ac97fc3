"""From an accepted request to a finalized transfer, and failures in between."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from deploy.local.engines import Postgres
from services.chassis import broker, metrics
from services.chassis.broker import OutgoingMessage, Publisher, PublishFailed
from services.chassis.database import Pool
from services.chassis.outbox import Relay
from services.chassis.roles import Runtime
from services.contracts import topology
from services.contracts.identifiers import new_id
from services.contracts.messages import TransferCommand, encode_envelope
from services.contracts.topology import REQUESTED_QUEUE, TRANSFERS_FINALIZED, TRANSFERS_REQUESTED
from services.transaction.commands import Accepted
from tests.harness import ledgers
from tests.harness.databases import TestDatabase
from tests.harness.outbox_items import list_items, list_subjects
from tests.harness.services import MoneyPath, accept, request


async def commands_of(path: MoneyPath) -> list[str]:
    """The commands in the outbox, as the relay would send them."""
    return await list_items(path.pool, TRANSFERS_REQUESTED)


async def send(path: MoneyPath, *bundles: list[str] | bytes) -> None:
    """Put messages into the queue, bundles of commands or raw bytes."""
    publisher = Publisher(path.rabbitmq_url, "test")
    bodies = [
        bundle if isinstance(bundle, bytes) else encode_envelope(TRANSFERS_REQUESTED, bundle, sent_at=datetime.now(UTC))
        for bundle in bundles
    ]
    left = [OutgoingMessage(topology.COMMANDS, TRANSFERS_REQUESTED.type, body) for body in bodies]
    async with asyncio.timeout(60):
        # A broker on a busy machine may confirm too late: then the message is sent again, as the relay does.
        while left:
            results = await publisher.publish(left)
            left = [outgoing for outgoing, failed in zip(left, results, strict=True) if failed]
    await publisher.close()


async def dead_letters(path: MoneyPath, count: int, *, seconds: float = 30) -> list[tuple[bytes, str]]:
    """Wait for `count` dead letters; returns their bodies and reasons."""
    found: list[tuple[bytes, str]] = []
    connection = await broker.connect(path.rabbitmq_url, "test dead letters")
    async with connection:
        queue = await (await connection.channel()).get_queue(REQUESTED_QUEUE.dead_letter)
        async with asyncio.timeout(seconds):
            while len(found) < count:
                message = await queue.get(fail=False)
                if message is None:
                    await asyncio.sleep(0.05)
                    continue
                found.append((message.body, str(message.headers[broker.REASON])))
                await message.ack()
    return found


async def test_transfer_is_completed(path: MoneyPath) -> None:
    """An accepted transfer is posted and COMPLETED, and its event is in the outbox; the response said PENDING."""
    [(alice, alice_wallet), (_, bob_wallet)] = await path.users([1000, 0])
    path.start_relay()
    path.start_worker()

    [result] = await accept(path.intake(), request(alice, bob_wallet, 300))
    assert isinstance(result, Accepted)
    done = await path.finalized([result.transfer.id])

    assert "PENDING" == result.transfer.status
    assert "COMPLETED" == done[result.transfer.id].status
    assert 300 == await ledgers.balance(path.wallet_pool, bob_wallet)
    assert 1 == await path.pool.fetchval("SELECT count(*) FROM outbox WHERE topic = 'transfers.finalized'")
    assert 700 == await ledgers.balance(path.wallet_pool, alice_wallet)


async def test_thousand_statuses_equal_their_outcomes(path: MoneyPath) -> None:
    """Guarantee 1, short form: many transfers, some unaffordable; each status equals its outcome."""
    users = await path.users([500] * 20)
    path.start_relay()
    path.start_worker("worker-1")
    path.start_worker("worker-2")
    intake = path.intake()
    rng = random.Random(3)

    ids = []
    for _ in range(20):
        batch = []
        for _ in range(50):
            (sender, _), (_, receiver) = rng.sample(users, 2)
            batch.append(request(sender, receiver, rng.randint(1, 400)))
        ids += [a.transfer.id for a in await accept(intake, *batch) if isinstance(a, Accepted)]
    done = await path.finalized(ids)

    kinds = Counter(transfer.status for transfer in done.values())
    assert kinds["COMPLETED"] > 100
    assert len(ids) == sum(kinds.values())


async def test_duplicates_in_any_order_change_nothing(path: MoneyPath) -> None:
    """Guarantee 6: 1,000 messages delivered 1, 2 or 10 times in random order; each transfer changes once, with one event."""
    users = await path.users([100_000] * 10)
    intake = path.intake()
    rng = random.Random(9)
    ids = []
    for _ in range(10):
        pairs = [rng.sample(users, 2) for _ in range(100)]
        batch = [request(sender, receiver, rng.randint(1, 50)) for (sender, _), (_, receiver) in pairs]
        ids += [a.transfer.id for a in await accept(intake, *batch) if isinstance(a, Accepted)]
    bodies = await commands_of(path)
    copies = [body for body in bodies for _ in range(rng.choice([1, 2, 10]))]
    rng.shuffle(copies)

    path.start_worker("worker-1")
    path.start_worker("worker-2")
    await send(path, *(copies[start : start + 7] for start in range(0, len(copies), 7)))
    await path.finalized(ids)
    await path.stop_all()

    events = Counter(await list_subjects(path.pool, TRANSFERS_FINALIZED))
    assert [0, 0] == [await deadlocks(pool) for pool in (path.pool, path.wallet_pool)]
    assert 1000 == len(ids)
    assert dict.fromkeys(ids, 1) == dict(events)
    assert 2 * len(ids) == await path.wallet_pool.fetchval(
        "SELECT count(*) FROM entries WHERE transfer_id = ANY($1::uuid[])", ids
    )


async def deadlocks(pool: Pool) -> int:
    """How many deadlocks PostgreSQL has ended in this database."""
    count: int = await pool.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return count


async def test_rejection_is_final_after_a_top_up(path: MoneyPath) -> None:
    """Guarantee 5: FAILED for funds, then topped up and the message sent again five times: still FAILED, no money moves."""
    [(alice, alice_wallet), (_, bob_wallet), (_, rich_wallet)] = await path.users([100, 0, 1000])
    intake = path.intake()
    [result] = await accept(intake, request(alice, bob_wallet, 100))
    assert isinstance(result, Accepted)
    await ledgers.post(path.wallet_pool, ledgers.posting(alice_wallet, rich_wallet, 60))
    command = await commands_of(path)
    path.start_worker()
    await send(path, command)
    failed = (await path.finalized([result.transfer.id]))[result.transfer.id]

    await ledgers.post(path.wallet_pool, ledgers.posting(rich_wallet, alice_wallet, 1000))
    [after] = await accept(intake, request(alice, bob_wallet, 1))
    assert isinstance(after, Accepted)
    await send(path, *[command] * 5, (await commands_of(path))[1:])
    await path.finalized([after.transfer.id])
    await path.stop_all()
    again = (await path.finalized([result.transfer.id]))[result.transfer.id]

    assert ("FAILED", "insufficient_funds") == (failed.status, failed.failure_code)
    assert failed == again
    assert (1039, 1) == (
        await ledgers.balance(path.wallet_pool, alice_wallet),
        await ledgers.balance(path.wallet_pool, bob_wallet),
    )


async def test_reversal_fails_a_lost_transfer(path: MoneyPath) -> None:
    """A transfer whose message is lost is FAILED with `timed_out` after its expiry; a late message moves nothing."""
    path.reversal_after = timedelta(milliseconds=1)
    [(alice, alice_wallet), (_, bob_wallet)] = await path.users([1000, 0])
    [result] = await accept(path.intake(), request(alice, bob_wallet, 300))
    assert isinstance(result, Accepted)

    moved = await path.sweep()
    path.start_worker()
    await send(path, await commands_of(path))
    done = await path.finalized([result.transfer.id])

    assert 1 == moved
    assert ("FAILED", "timed_out") == (done[result.transfer.id].status, done[result.transfer.id].failure_code)
    assert 1000 == await ledgers.balance(path.wallet_pool, alice_wallet)


async def test_reversal_completes_a_posted_transfer(path: MoneyPath) -> None:
    """Guarantee 4: the worker died after the ledger commit and did not return; the reversal makes the transfer COMPLETED."""
    path.reversal_after = timedelta(seconds=1)
    [(alice, _), (_, bob_wallet)] = await path.users([1000, 0])
    [result] = await accept(path.intake(), request(alice, bob_wallet, 300))
    assert isinstance(result, Accepted)
    transfer = result.transfer
    posted = ledgers.posting(transfer.from_wallet_id, bob_wallet, 300, transfer_id=transfer.id)
    assert ["posted"] == await ledgers.post(path.wallet_pool, posted._replace(request_hash=transfer.request_hash))

    async with asyncio.timeout(20):
        while not await path.sweep():
            await asyncio.sleep(0.1)
    done = await path.finalized([transfer.id])

    assert "COMPLETED" == done[transfer.id].status
    assert 300 == await ledgers.balance(path.wallet_pool, bob_wallet)


async def test_reversals_beside_workers_do_not_contradict_them(path: MoneyPath) -> None:
    """Guarantee 8, short form: two continuous reversals beside two workers; one event per transfer, no contradiction."""
    path.reversal_after = timedelta(milliseconds=30)
    users = await path.users([10_000] * 6)
    intake = path.intake()
    path.start_relay()
    path.start_worker("worker-1")
    path.start_worker("worker-2")
    done = asyncio.Event()

    async def reverse() -> None:
        while not done.is_set():
            await path.sweep()
            await asyncio.sleep(0.005)

    reversals = [asyncio.create_task(reverse()) for _ in range(2)]
    rng = random.Random(21)
    ids = []
    for _ in range(40):
        batch = [request(s, r, 1) for (s, _), (_, r) in (rng.sample(users, 2) for _ in range(10))]
        ids += [a.transfer.id for a in await accept(intake, *batch) if isinstance(a, Accepted)]
    finalized = await path.finalized(ids)
    done.set()
    await asyncio.gather(*reversals)

    kinds = Counter(transfer.status for transfer in finalized.values())
    assert len(ids) == len(await list_subjects(path.pool, TRANSFERS_FINALIZED))
    assert kinds["COMPLETED"] + kinds["FAILED"] == len(ids)


async def test_conflicting_command_is_left_to_an_operator(path: MoneyPath) -> None:
    """Guarantee 10: an id the wallet knows with another request is dead-lettered, stays PENDING, and the reversal ignores it."""
    path.reversal_after = timedelta(seconds=1)
    [(alice, _), (_, bob_wallet)] = await path.users([1000, 0])
    [result] = await accept(path.intake(), request(alice, bob_wallet, 300))
    assert isinstance(result, Accepted)
    forged = ledgers.posting(result.transfer.from_wallet_id, bob_wallet, 999, transfer_id=result.transfer.id)
    await ledgers.post(path.wallet_pool, forged)

    path.start_worker()
    await send(path, await commands_of(path))
    [(_, reason)] = await dead_letters(path, 1)
    await path.stop_all()
    async with asyncio.timeout(30):
        while not await path.pool.fetchval("SELECT expires_at < clock_timestamp() FROM transfers"):
            await asyncio.sleep(0.05)
    swept = await path.sweep()

    assert "conflict" == reason
    assert 0 == swept
    assert "PENDING" == await path.pool.fetchval("SELECT status FROM transfers")


async def test_poison_message_affects_only_itself(path: MoneyPath) -> None:
    """Guarantee 37: no JSON, unknown version, a broken command in a bundle of 64: dead letters; the other 63 are carried out."""
    [(alice, _), (_, bob_wallet)] = await path.users([10_000, 0])
    results = await accept(path.intake(), *(request(alice, bob_wallet, 1) for _ in range(63)))
    ids = [result.transfer.id for result in results if isinstance(result, Accepted)]
    bundle = await commands_of(path)
    broken = bundle[0].replace('"amount":1', '"amount":"1"').replace(str(ids[0]), str(new_id()))
    malformed = bundle[1].replace('"currency":"USD"', '"currency":[]').replace(str(ids[1]), str(new_id()))
    future = encode_envelope(TRANSFERS_REQUESTED, bundle[:1], sent_at=datetime.now(UTC)).replace(
        b'"version":1', b'"version":9'
    )

    path.start_worker()
    await send(path, b"\xff no json", future, [*bundle[:30], broken, *bundle[30:]], [malformed])
    found = await dead_letters(path, 4)
    done = await path.finalized(ids)

    assert {"COMPLETED"} == {transfer.status for transfer in done.values()}
    assert all(reason.startswith("malformed") for _, reason in found)


async def test_handler_that_always_fails_stops_after_its_attempts(
    path: MoneyPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guarantee 37: an item that always fails is delayed and then becomes a dead letter; others are carried out at once."""
    [(alice, _), (_, bob_wallet)] = await path.users([10_000, 0])
    results = await accept(path.intake(), *(request(alice, bob_wallet, 1) for _ in range(10)))
    ids = [result.transfer.id for result in results if isinstance(result, Accepted)]
    worker = path.start_worker(attempts_max=2)
    good = worker._wallet.post

    async def post(items: Sequence[TransferCommand]) -> list[Any]:
        if any(item.transfer_id == ids[4] for item in items):
            raise ZeroDivisionError
        return await good(items)

    monkeypatch.setattr(worker._wallet, "post", post)
    await send(path, await commands_of(path))
    done = await path.finalized([id_ for id_ in ids if id_ != ids[4]])
    [(body, reason)] = await dead_letters(path, 1)

    assert {"COMPLETED"} == {transfer.status for transfer in done.values()}
    assert "attempts_max: ZeroDivisionError" == reason
    assert str(ids[4]).encode() in body


async def test_unknown_wallet_is_an_outcome(path: MoneyPath) -> None:
    """Guarantee 37: a command for a wallet that does not exist fails the transfer with `wallet_not_found`."""
    [(alice, _), (_, bob_wallet)] = await path.users([10_000, 0])
    [result] = await accept(path.intake(), request(alice, bob_wallet, 5))
    assert isinstance(result, Accepted)
    [body] = await commands_of(path)

    path.start_worker()
    await send(path, [body.replace(str(bob_wallet), str(new_id()))])
    done = await path.finalized([result.transfer.id])

    assert ("FAILED", "wallet_not_found") == (done[result.transfer.id].status, done[result.transfer.id].failure_code)


async def test_unroutable_publish_keeps_its_row(path: MoneyPath) -> None:
    """Guarantee 36: with the queue gone the publish is returned, the row stays unpublished and is published later."""
    [(alice, _), (_, bob_wallet)] = await path.users([1000, 0])
    publisher = Publisher(path.rabbitmq_url, "test")
    await publisher.ping()
    connection = await broker.connect(path.rabbitmq_url, "test")
    async with connection:
        channel = await connection.channel()
        queue = await channel.get_queue(REQUESTED_QUEUE.name)
        await queue.unbind(topology.COMMANDS, TRANSFERS_REQUESTED.type)
        [failed] = await publisher.publish([OutgoingMessage(topology.COMMANDS, TRANSFERS_REQUESTED.type, b"{}")])
    await publisher.close()

    unroutable = metrics.OUTBOX_FAILURES.labels("transaction", "unroutable")
    counted = unroutable._value.get()
    relaying = Publisher(path.rabbitmq_url, "test")
    await relaying.ping()
    connection = await broker.connect(path.rabbitmq_url, "test")
    async with connection:
        queue = await (await connection.channel()).get_queue(REQUESTED_QUEUE.name)
        await queue.unbind(topology.COMMANDS, TRANSFERS_REQUESTED.type)
    [result] = await accept(path.intake(), request(alice, bob_wallet, 5))
    assert isinstance(result, Accepted)
    relay = Relay(path.pool, relaying, Runtime(service="transaction", role="relay", instance="test"))
    await relay._take_lease()
    _, kept = await relay._pass()
    await relay._release_lease()
    row = await path.pool.fetchrow(
        "SELECT published_at, claimed_until < clock_timestamp() + interval '2 s' AS soon FROM outbox"
    )
    await relaying.close()
    path.start_relay()
    path.start_worker()
    done = await path.finalized([result.transfer.id])

    assert row is not None
    assert (1, None, True) == (kept, row["published_at"], row["soon"])
    assert counted + 1 == unroutable._value.get()
    assert failed is not None
    assert "unroutable" == failed.reason
    assert "COMPLETED" == done[result.transfer.id].status


async def test_unavailable_wallet_pauses_the_worker(path: MoneyPath) -> None:
    """While the wallet is unavailable nothing is failed, republished or lost; afterwards everything is carried out."""
    [(alice, _), (_, bob_wallet)] = await path.users([1000, 0])
    intake = path.intake()
    results = await accept(intake, *(request(alice, bob_wallet, 1) for _ in range(20)))
    ids = [result.transfer.id for result in results if isinstance(result, Accepted)]
    worker = path.start_worker()
    url, worker._wallet._upstream._base_url = worker._wallet._upstream._base_url, "http://127.0.0.1:9"
    await send(path, await commands_of(path))
    async with asyncio.timeout(30):
        while not await path.pool.fetchval("SELECT count(*) FROM transfers WHERE jsonb_array_length(attempts) > 0"):
            await asyncio.sleep(0.02)
    pending = await path.pool.fetchval("SELECT count(*) FROM transfers WHERE status = 'PENDING'")
    worker._wallet._upstream._base_url = url
    done = await path.finalized(ids)

    assert 20 == pending
    assert {"COMPLETED"} == {transfer.status for transfer in done.values()}


async def test_locked_transfer_is_waited_for(path: MoneyPath) -> None:
    """While another transaction locks the transfer's row, the worker keeps its window: no attempt counts, nothing is lost."""
    [(alice, _), (_, bob_wallet)] = await path.users([1000, 0])
    [result] = await accept(path.intake(), request(alice, bob_wallet, 5))
    assert isinstance(result, Accepted)

    async with path.pool.acquire() as holder:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("SELECT FROM transfers FOR UPDATE")
        path.start_worker(attempts_max=1)
        await send(path, await commands_of(path))
        async with asyncio.timeout(20):
            while not await path.wallet_pool.fetchval(
                "SELECT count(*) FROM outcomes WHERE transfer_id = $1", result.transfer.id
            ):
                await asyncio.sleep(0.02)
            # The worker waits for the row longer than its lock timeout, and tries again.
            while not await path.pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.01)
            while await path.pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.01)
        await transaction.rollback()
    done = await path.finalized([result.transfer.id])

    assert "COMPLETED" == done[result.transfer.id].status


async def test_wallet_without_its_database_pauses_the_worker(
    path: MoneyPath, wallet_database: TestDatabase, postgres: Postgres
) -> None:
    """A wallet that returns 503 is waited for like one that does not respond: no attempt, republish or dead letter."""
    [(alice, _), (_, bob_wallet)] = await path.users([1000, 0])
    results = await accept(path.intake(), *(request(alice, bob_wallet, 1) for _ in range(5)))
    ids = [result.transfer.id for result in results if isinstance(result, Accepted)]
    superuser = await asyncpg.connect(postgres.dsn("postgres"))

    await superuser.execute(f'ALTER DATABASE "{wallet_database.name}" ALLOW_CONNECTIONS false')
    await superuser.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", wallet_database.name
    )
    worker = path.start_worker(attempts_max=1)
    await send(path, await commands_of(path))
    async with asyncio.timeout(20):
        while not worker.wallet_unavailable:
            await asyncio.sleep(0.02)
    await superuser.execute(f'ALTER DATABASE "{wallet_database.name}" ALLOW_CONNECTIONS true')
    await superuser.close()
    done = await path.finalized(ids)

    assert {"COMPLETED"} == {transfer.status for transfer in done.values()}


async def test_unroutable_events_do_not_delay_commands(path: MoneyPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six hundred rows that cannot be routed, older than a command, are postponed; the command is published and carried out."""
    [(alice, _), (_, bob_wallet)] = await path.users([1000, 0])
    stuck = [new_id() for _ in range(600)]
    await path.pool.execute(
        "INSERT INTO outbox (id, topic, body) SELECT id, 'transfers.finalized', '{}' FROM unnest($1::uuid[]) AS given(id)",
        stuck,
    )
    publisher = Publisher(path.rabbitmq_url, "test")
    path.stack.push_async_callback(publisher.close)
    reachable = publisher.publish

    async def publish(messages: Sequence[OutgoingMessage]) -> list[PublishFailed | None]:
        commands = [message for message in messages if message.exchange == topology.COMMANDS]
        results = iter(await reachable(commands))
        return [next(results) if message in commands else PublishFailed("unroutable") for message in messages]

    monkeypatch.setattr(publisher, "publish", publish)
    runtime = path._runtime("relay")
    path.tasks["relay"] = asyncio.create_task(Relay(path.pool, publisher, runtime).run())
    path.start_worker()
    [result] = await accept(path.intake(), request(alice, bob_wallet, 5))
    assert isinstance(result, Accepted)
    done = await path.finalized([result.transfer.id], seconds=15)

    assert "COMPLETED" == done[result.transfer.id].status
    assert 600 == await path.pool.fetchval(
        "SELECT count(*) FROM outbox WHERE id = ANY($1::uuid[]) AND published_at IS NULL", stuck
    )
