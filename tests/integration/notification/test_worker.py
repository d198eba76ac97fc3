"""The worker role on the real broker and the real database."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime

import aio_pika
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis as Client

from deploy.local.engines import RabbitMQ, Redis
from services.chassis import broker
from services.chassis.broker import OutgoingMessage, Publisher
from services.chassis.consumer import Delivery
from services.chassis.database import Pool, close_pool
from services.chassis.roles import Runtime
from services.contracts.identifiers import new_id
from services.contracts.messages import TransferEvent, encode_envelope, encode_item
from services.contracts.refusals.notification import RecordingContended
from services.contracts.topology import FINALIZED_QUEUE, TRANSFERS_FINALIZED
from services.notification import commands
from services.notification.settings import WorkerSettings
from services.notification.wakeup import CHANNEL, FeedWakeup
from services.notification.worker import recorder, serve_worker
from tests.harness import feeds
from tests.harness.databases import TestDatabase
from tests.harness.dead_letters import archived
from tests.integration.notification.polling import SECONDS_MAX, until
from tests.unit.notification.events import completed, failed

ALICE, BOB = new_id(), new_id()
UNREACHABLE = "http://127.0.0.1:9"


@dataclass(slots=True)
class Workers:
    """Any number of worker roles on one queue, and a publisher."""

    settings: WorkerSettings
    publisher: Publisher
    _roles: dict[asyncio.Task[None], Runtime] = field(default_factory=dict)

    def start(self) -> None:
        runtime = Runtime(service="notification", role="worker", instance=f"notification-worker-{len(self._roles)}")
        self._roles[asyncio.create_task(serve_worker(self.settings, runtime))] = runtime

    async def stop(self) -> None:
        for runtime in self._roles.values():
            runtime.stopping.set()
        await asyncio.gather(*self._roles)

    async def publish(self, *bundles: Sequence[TransferEvent | str]) -> None:
        messages = [_message([item if isinstance(item, str) else encode_item(item) for item in b]) for b in bundles]
        await self.send(*messages)

    async def send(self, *bodies: bytes) -> None:
        outgoing = [OutgoingMessage(TRANSFERS_FINALIZED.exchange, TRANSFERS_FINALIZED.type, body) for body in bodies]
        assert [None] * len(outgoing) == await self.publisher.publish(outgoing)


@pytest.fixture
async def workers(
    pool: Pool,
    notification_database: TestDatabase,
    rabbitmq: RabbitMQ,
    seeds: dict[str, str],
    public_keys: dict[str, str],
) -> AsyncIterator[Workers]:
    del pool  # only so that its check of the feeds runs after the workers have ended
    async with AsyncExitStack() as stack:
        connection = await aio_pika.connect(rabbitmq.url)
        stack.push_async_callback(connection.close)
        channel = await connection.channel()
        await broker.declare(channel)
        for name in (FINALIZED_QUEUE.name, FINALIZED_QUEUE.dead_letter):
            await (await channel.get_queue(name)).purge()
        publisher = Publisher(rabbitmq.url, "test")
        stack.push_async_callback(publisher.close)
        settings = WorkerSettings(
            notification_database_url=notification_database.service_url,
            rabbitmq_url=rabbitmq.url,
            transaction_url=UNREACHABLE,
            service_key=seeds["notification-worker"],
            service_public_keys=public_keys,
        )
        made = Workers(settings, publisher)
        stack.push_async_callback(made.stop)
        yield made


def _message(items: Sequence[str]) -> bytes:
    return encode_envelope(TRANSFERS_FINALIZED, items, sent_at=datetime.now(UTC))


async def until_recorded(pool: Pool, transfers_count: int) -> None:
    async def recorded() -> bool:
        return bool(await pool.fetchval("SELECT count(DISTINCT transfer_id) FROM notifications") >= transfers_count)

    await until(recorded)


async def notifications_count(pool: Pool) -> int:
    return int(await pool.fetchval("SELECT count(*) FROM notifications"))


async def test_recorded(workers: Workers, pool: Pool) -> None:
    """The event of a finalized transfer makes a notification for both users."""
    workers.start()
    await workers.publish([completed(sender_id=ALICE, recipient_id=BOB)])
    await until_recorded(pool, 1)
    rows = await pool.fetch("SELECT user_id, kind FROM notifications ORDER BY kind")
    assert [tuple(row) for row in rows] == [(ALICE, "transfer_completed"), (BOB, "transfer_received")]


async def test_wakeup_names_the_users(workers: Workers, redis: Redis) -> None:
    """After the commit the wake-up names the users whose feeds have new lines."""
    workers.settings = workers.settings.model_copy(update={"redis_url": SecretStr(redis.url)})
    async with Client.from_url(redis.url) as client, client.pubsub(ignore_subscribe_messages=True) as heard:
        await heard.subscribe(CHANNEL)
        workers.start()
        said = None
        async with asyncio.timeout(SECONDS_MAX):
            # A Redis that does not respond within a few milliseconds is not waited for: a wake-up may be missing.
            while said is None:
                await workers.publish([completed(sender_id=ALICE, recipient_id=BOB)])
                said = await heard.get_message(timeout=1.0)

    assert {str(ALICE), str(BOB)} == set(said["data"].decode().split(","))


@pytest.mark.parametrize("count", [1000, 1001])
async def test_wakeup_of_many_users(redis: Redis, count: int) -> None:
    """A thousand users are named; with more, all feeds are woken up."""
    users = [new_id() for _ in range(count)]
    wakeup = FeedWakeup(redis.url)
    async with Client.from_url(redis.url) as client, client.pubsub(ignore_subscribe_messages=True) as heard:
        await heard.subscribe(CHANNEL)
        said = None
        async with asyncio.timeout(SECONDS_MAX):
            while said is None:
                wakeup.notify(users)
                said = await heard.get_message(timeout=1.0)
    await wakeup.close()

    named = set(said["data"].decode().split(","))
    assert ({str(user) for user in users} if count == 1000 else {"*"}) == named


async def test_worker_with_a_mail_server_queues_emails(workers: Workers, pool: Pool) -> None:
    """With a mail server each notification gets an e-mail to send, without one none."""
    await commands.record_events(pool, [completed()], with_deliveries=False)
    workers.settings = workers.settings.model_copy(update={"smtp_url": SecretStr("smtp://127.0.0.1:9")})
    workers.start()
    await workers.publish([completed(), failed()])
    await until_recorded(pool, 3)

    assert 3 == await pool.fetchval("SELECT count(*) FROM deliveries")


async def test_silent_redis_delays_nothing(pool: Pool) -> None:
    """With a Redis that never responds events are recorded as fast, and closing takes no time."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        wakeup = FeedWakeup(f"redis://:password@127.0.0.1:{silent.getsockname()[1]}/0")
        handle = recorder(pool, wakeup, with_deliveries=False)
        for _ in range(20):
            await handle([Delivery(completed(), 1, False, datetime.now(UTC))])
        began = time.monotonic()
        await wakeup.close()

    assert time.monotonic() - began < 20, "the Redis never responds"
    assert 40 == await notifications_count(pool)


async def test_malformed_item_in_a_bundle(workers: Workers, pool: Pool) -> None:
    """An item that cannot be decoded is dead-lettered alone, at once; the other 63 are recorded."""
    events: list[TransferEvent | str] = [completed() for _ in range(63)]
    poison = json.loads(encode_item(completed())) | {"amount": "10.50"}
    events.insert(17, json.dumps(poison))
    workers.start()
    await workers.publish(events)
    await until_recorded(pool, 63)
    [dead_letter] = await archived(pool)
    assert json.loads(dead_letter["body"])["events"] == [poison]
    assert dead_letter["reason"].startswith("malformed")
    assert await notifications_count(pool) == 2 * 63


async def test_unwritable_item_in_a_bundle(workers: Workers, pool: Pool) -> None:
    """An item that the database refuses becomes a dead letter alone; the other 63 are recorded once each."""
    events = [completed() for _ in range(63)]
    poison = completed(description="NUL \x00")
    workers.start()
    await workers.publish([*events[:40], poison, *events[40:]])
    await until_recorded(pool, 63)
    recorded = {row["transfer_id"] for row in await pool.fetch("SELECT transfer_id FROM notifications")}
    assert recorded == {event.transfer_id for event in events}
    assert await notifications_count(pool) == 2 * 63


@pytest.mark.parametrize("body", [b"\xff", b"[]", b'{"events": []}', b'{"type": "transfers.finalized", "version": 2}'])
async def test_malformed_envelope(workers: Workers, pool: Pool, body: bytes) -> None:
    """A malformed message is dead-lettered as it is; the next one is recorded."""
    workers.start()
    await workers.send(body)
    await workers.publish([completed()])
    await until_recorded(pool, 1)
    [dead_letter] = await archived(pool)
    assert bytes(dead_letter["body"]) == body


async def test_copies(workers: Workers, pool: Pool) -> None:
    """Two workers, ten copies of every message in random order: every transfer is recorded once."""
    users = [new_id() for _ in range(6)]
    bundles = [
        [
            completed(sender_id=random.choice(users), recipient_id=random.choice(users))
            for _ in range(random.randint(1, 64))
        ]
        for _ in range(12)
    ]
    copies = bundles * 10
    random.shuffle(copies)
    last = failed()
    workers.start()
    workers.start()
    await workers.publish(*copies)
    await workers.publish([last])
    transfers = {event.transfer_id for bundle in bundles for event in bundle} | {last.transfer_id}
    await until_recorded(pool, len(transfers))
    await workers.stop()
    expected = sum(1 if event.sender_id == event.recipient_id else 2 for bundle in bundles for event in bundle) + 1
    assert await notifications_count(pool) == expected
    assert await pool.fetchval(f"SELECT count(*) FROM {feeds.LINES}") == 2 * expected


async def test_stop(workers: Workers, pool: Pool) -> None:
    """A worker that stops finishes its window; another continues, and nothing is lost or doubled."""
    bundles = [[completed() for _ in range(64)] for _ in range(30)]
    workers.start()
    await workers.publish(*bundles)
    await until_recorded(pool, 1)
    await workers.stop()
    workers.start()
    await until_recorded(pool, 30 * 64)
    assert await notifications_count(pool) == 2 * 30 * 64


async def test_contended(notification_database: TestDatabase, pool: Pool) -> None:
    """A row that another worker locks is waited for, not failed: the window is kept and recorded afterwards."""
    impatient = await notification_database.pool(lock_timeout="100ms")
    window = [Delivery(completed(sender_id=ALICE), 1, redelivered=False, sent_at=datetime.now(UTC))]
    handle = recorder(impatient, FeedWakeup(None), with_deliveries=False)
    await commands.record_events(pool, [completed(sender_id=ALICE)], with_deliveries=False)
    async with pool.acquire() as other, other.transaction():
        await other.execute("UPDATE event_counters SET last_seq = last_seq WHERE user_id = $1", ALICE)
        with pytest.raises(RecordingContended):
            await handle(window)
    assert await handle(window) == [None]
    await close_pool(impatient)
