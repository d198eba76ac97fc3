"""Upgrade from the version that spoke of settled transfers and notices: the roles start on the data which that version left."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

import aio_pika
import asyncpg
import pytest
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelClosed
from aiohttp import web
from alembic import command

from deploy.local.engines import Postgres, RabbitMQ
from services.chassis import broker, database, dead_letters, migrations, server
from services.chassis.broker import Publisher
from services.chassis.database import close_pool
from services.chassis.dead_letters import Actor
from services.chassis.roles import Runtime
from services.chassis.service_tokens import TokenVerifier
from services.contracts import topology
from services.contracts.identifiers import new_id
from services.contracts.messages import TransferCommand, TransferEvent, encode_envelope, encode_item
from services.contracts.topology import EVENTS, TRANSFERS_REQUESTED, Queue, Route
from services.notification.settings import WorkerSettings
from services.notification.worker import serve_worker
from services.transaction import api, commands
from services.transaction.commands import Accepted
from services.transaction.intake import Request
from services.transaction.transfer import request_hash
from services.wallet.ledger import Posting
from services.wallet.proof import prove
from tests.harness import feeds, ledgers
from tests.harness.databases import TestDatabase
from tests.harness.services import MoneyPath, accept, open_money_path, request

BEFORE = {"transaction": "0006", "notification": "0005", "wallet": "0005", "auth": "0009"}
"""The revisions of that version."""

SETTLED = Route("transfers.settled", 1, EVENTS, "events", "transfer")
OLD_QUEUE = Queue("notices.transfers-settled", EVENTS, SETTLED.type)

PENDING = ("requested", "queued", "posted", "set aside", "lost")
COMPLETED = ("recorded", "unpublished", "redelivered", "dead letter", "dead letter at the broker")
FAILED = ("undelivered", "unpublished failure")
OUTCOMES = {
    **dict.fromkeys([*COMPLETED, "requested", "queued", "posted", "set aside"], ("COMPLETED", None)),
    **dict.fromkeys(FAILED, ("FAILED", "insufficient_funds")),
    "lost": ("FAILED", "timed_out"),
}
"""Where that version left each transfer, and what has to become of it."""

TRANSFER = """
INSERT INTO transfers (id, user_id, recipient_id, kind, status, amount, currency, from_wallet_id, to_wallet_id, request_hash,
                       request_id, created_at, expires_at, completed_at, failed_at, failure_code, settled_at)
VALUES ($1, $2, $3, 'transfer', $4, 10, 'USD', $5, $6, $7, 'request', $8, $9, $10, $11, $12, $13)
"""
KEY = "INSERT INTO idempotency_keys (user_id, key, request_hash, hash_version, resource_id) VALUES ($1, $2, $3, 1, $4)"
OUTBOX = "INSERT INTO outbox (id, topic, body, published_at) VALUES ($1, $2, $3, $4)"
DEAD_LETTER = """
INSERT INTO dead_letters (id, queue, reason, attempts, message_id, content_hash, body, transfer_ids, request_ids)
VALUES ($1, $2, 'crashed', 3, 'message', $3, $4, $5, '{request}')
"""
NOTICE = """
INSERT INTO notices (id, user_id, transfer_id, kind, title, body, read_at) VALUES ($1, $2, $3, $4, 'Title', 'Body', now())
"""
AUDIT = """
INSERT INTO audit_log (id, act, actor_id, user_id, subject_kind, subject_id, request_id)
VALUES ($1, 'before', $1, $1, 'subject', $1, 'request')
"""
AUDITS = {
    "transaction": AUDIT,
    "notification": AUDIT,
    "wallet": "INSERT INTO audit_log (act, actor_id, account_id, request_id) VALUES ('before', $1, $1, 'request')",
    "auth": "INSERT INTO audit_log (id, act, user_id, request_id) VALUES ($1, 'before', $1, 'request')",
}


@dataclass
class Sent:
    """A transfer as that version recorded it."""

    request: Request
    recipient_id: UUID
    from_wallet_id: UUID
    to_wallet_id: UUID
    number: int
    id: UUID = field(default_factory=new_id)
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(minutes=5))

    @property
    def hash(self) -> bytes:
        return request_hash(self.from_wallet_id, self.to_wallet_id, 10, "USD")

    @property
    def finalized_at(self) -> datetime:
        return self.created_at + timedelta(seconds=self.number)

    def command(self, expires_at: datetime) -> str:
        return encode_item(
            TransferCommand(
                transfer_id=self.id,
                source_id=self.from_wallet_id,
                destination_id=self.to_wallet_id,
                amount=10,
                currency="USD",
                description=None,
                request_hash=self.hash.hex(),
                accepted_at=self.created_at,
                expires_at=expires_at,
                request_id="request",
                traceparent=None,
            )
        )

    def event(self, failure_code: str | None) -> str:
        return encode_item(
            TransferEvent(
                event_id=new_id(),
                type="transfer.failed" if failure_code else "transfer.completed",
                transfer_id=self.id,
                kind="transfer",
                amount=10,
                currency="USD",
                from_wallet_id=self.from_wallet_id,
                to_wallet_id=self.to_wallet_id,
                sender_id=self.request.user_id,
                recipient_id=self.recipient_id,
                description=None,
                failure_code=failure_code,
                occurred_at=self.finalized_at,
                request_id="request",
                traceparent=None,
            )
        )


@asynccontextmanager
async def at_revision(postgres: Postgres, service: str) -> AsyncIterator[TestDatabase]:
    """An empty database of that version."""
    name = f"{service}_before"
    connection = await asyncpg.connect(postgres.dsn("postgres"))
    await connection.execute(f'CREATE DATABASE "{name}" OWNER payflow_{service}_owner')
    url = postgres.dsn(name, f"payflow_{service}_owner")
    await asyncio.to_thread(command.upgrade, migrations.configure(service, url), BEFORE[service])
    try:
        yield TestDatabase(
            name=name,
            service_url=postgres.dsn(name, f"payflow_{service}"),
            owner_url=url,
            superuser_url=postgres.dsn(name),
            proof_url=postgres.dsn(name, "payflow_wallet_proof"),
            seal_url=postgres.dsn(name, "payflow_wallet_seal"),
        )
    finally:
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await connection.close()


@pytest.fixture
async def databases(postgres: Postgres) -> AsyncIterator[dict[str, TestDatabase]]:
    async with AsyncExitStack() as stack:
        yield {
            service: await stack.enter_async_context(at_revision(postgres, service))
            for service in ("wallet", "transaction", "notification")
        }


@pytest.fixture
async def channel(rabbitmq: RabbitMQ) -> AsyncIterator[AbstractChannel]:
    """A channel; afterwards the broker is as other tests expect it."""
    connection = await broker.connect(rabbitmq.url, "test")
    async with connection:
        opened = await connection.channel(on_return_raises=True)
        yield opened
        cleaner = await connection.channel()
        for name in OLD_QUEUE.names:
            await cleaner.queue_delete(name)


@pytest.fixture
async def path(databases: dict[str, TestDatabase], rabbitmq: RabbitMQ) -> AsyncIterator[MoneyPath]:
    """The wallet's api and pools; no role runs yet. Afterwards the ledger must prove right, and the statuses match it."""
    async with AsyncExitStack() as stack:
        opened = await open_money_path(stack, databases["wallet"], databases["transaction"], rabbitmq)
        yield opened
        await opened.stop_all()
        proof_pool = await databases["wallet"].pool(databases["wallet"].proof_url)
        proof = await prove(proof_pool)
        await close_pool(proof_pool)
        outcome_rows = await opened.wallet_pool.fetch("SELECT transfer_id, outcome FROM outcomes")
        status_rows = await opened.pool.fetch("SELECT id, status FROM transfers")
    outcomes = {row["transfer_id"]: row["outcome"] for row in outcome_rows}
    statuses = {row["id"]: row["status"] for row in status_rows}
    assert proof.ok, proof
    assert statuses == {id_: "COMPLETED" if outcomes[id_] == "posted" else "FAILED" for id_ in statuses}


async def write_transfers(path: MoneyPath) -> dict[str, Sent]:
    """Transfers in every state, with their keys; the ledger has decided the terminal ones and the one that was posted."""
    [(alice, alice_wallet), (bob, bob_wallet)] = await path.users([200, 0])
    sent: dict[str, Sent] = {}
    for number, name in enumerate([*COMPLETED, *FAILED, *PENDING]):
        one = Sent(request(alice, bob_wallet, 10, key=name), bob, alice_wallet, bob_wallet, number)
        status, failure_code = ("PENDING", None) if name in PENDING else OUTCOMES[name]
        at = None if status == "PENDING" else one.finalized_at
        times = [at if status == "COMPLETED" else None, at if status == "FAILED" else None]
        row = [one.id, alice, bob, status, alice_wallet, bob_wallet, one.hash, one.created_at, expiry(name)]
        await path.pool.execute(TRANSFER, *row, *times, failure_code, at)
        await path.pool.execute(KEY, *one.request.key, one.request.key_hash, one.id)
        sent[name] = one
    posted = [sent[name] for name in (*COMPLETED, "posted")]
    rejected = [sent[name] for name in FAILED]
    for one in posted:
        assert ["posted"] == await ledgers.post(path.wallet_pool, posting(one, alice_wallet, bob_wallet))
    for one in rejected:
        response = await ledgers.post(path.wallet_pool, posting(one, alice_wallet, bob_wallet)._replace(amount=10_000))
        assert ["rejected:insufficient_funds"] == response
    return sent


def posting(one: Sent, source: UUID, destination: UUID) -> Posting:
    return ledgers.posting(source, destination, 10, transfer_id=one.id)._replace(request_hash=one.hash)


def expiry(name: str) -> datetime:
    return datetime.now(UTC) + timedelta(minutes=-1 if name == "lost" else 5)


async def write_outbox(path: MoneyPath, sent: dict[str, Sent]) -> None:
    """Rows that were published, and rows that were not."""
    now = datetime.now(UTC)
    rejected = "insufficient_funds"
    await path.pool.execute(OUTBOX, new_id(), SETTLED.type, sent["unpublished"].event(None), None)
    await path.pool.execute(OUTBOX, new_id(), SETTLED.type, sent["unpublished failure"].event(rejected), None)
    await path.pool.execute(OUTBOX, new_id(), SETTLED.type, sent["undelivered"].event(rejected), now)
    body = sent["requested"].command(expiry("requested"))
    await path.pool.execute(OUTBOX, sent["requested"].id, TRANSFERS_REQUESTED.type, body, None)


async def write_messages(channel: AbstractChannel, sent: dict[str, Sent]) -> None:
    """The queues as that version declared them, with messages that no consumer had received."""
    await channel.declare_queue(OLD_QUEUE.dead_letter, durable=True, arguments={"x-queue-type": "quorum"})
    arguments = broker._dead_lettering_to(OLD_QUEUE.dead_letter) | {"x-delivery-limit": topology.DELIVERY_LIMIT}
    queue = await channel.declare_queue(OLD_QUEUE.name, durable=True, arguments=arguments)
    await queue.bind(EVENTS, routing_key=SETTLED.type)
    for seconds in topology.DELAY_SECONDS:
        arguments = broker._dead_lettering_to(OLD_QUEUE.name) | {"x-message-ttl": seconds * 1000}
        await channel.declare_queue(OLD_QUEUE.delay(seconds), durable=True, arguments=arguments)
    events = [sent["undelivered"].event("insufficient_funds"), sent["redelivered"].event(None)]
    await publish(channel, EVENTS, SETTLED.type, envelope(SETTLED, events))
    await publish(
        channel, "", OLD_QUEUE.dead_letter, envelope(SETTLED, [sent["dead letter at the broker"].event(None)])
    )
    for name in ("queued", "posted"):
        body = envelope(TRANSFERS_REQUESTED, [sent[name].command(expiry(name))])
        await publish(channel, topology.COMMANDS, TRANSFERS_REQUESTED.type, body)


def envelope(route: Route, items: Sequence[str]) -> bytes:
    return encode_envelope(route, items, sent_at=datetime.now(UTC))


async def publish(channel: AbstractChannel, exchange: str, routing_key: str, body: bytes) -> None:
    message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
    await target.publish(message, routing_key, mandatory=True)


async def write_notices(url: str, sent: dict[str, Sent]) -> None:
    """What was recorded for users, up to where everything had been, and a dead letter that waits."""
    connection = await asyncpg.connect(url)
    for name in ("recorded", "redelivered"):
        one = sent[name]
        await connection.execute(
            "INSERT INTO inbox VALUES ($1, 'transfer.pending'), ($1, 'transfer.completed')", one.id
        )
        for user_id, kind in ((one.request.user_id, "transfer_completed"), (one.recipient_id, "transfer_received")):
            notice_id = new_id()
            await connection.execute(NOTICE, notice_id, user_id, one.id, kind)
            row = "INSERT INTO deliveries (id, notice_id, user_id) VALUES ($1, $2, $3)"
            await connection.execute(row, new_id(), notice_id, user_id)
    position = sent["recorded"]
    await connection.execute(
        "INSERT INTO positions VALUES ($1, $2, $3)", SETTLED.type, position.finalized_at, position.id
    )
    await write_dead_letter(connection, OLD_QUEUE.name, SETTLED, sent["dead letter"], sent["dead letter"].event(None))
    await connection.close()


async def write_dead_letter(connection: asyncpg.Connection, queue: str, route: Route, one: Sent, item: str) -> None:
    body = envelope(route, [item])
    content = json.dumps([route.type, route.version, [json.loads(item)]], sort_keys=True).encode()
    await connection.execute(DEAD_LETTER, new_id(), queue, sha256(content).digest(), body, [one.id])


async def write_data(path: MoneyPath, databases: dict[str, TestDatabase], channel: AbstractChannel) -> dict[str, Sent]:
    """Everything that version had on record and under way when it was killed."""
    sent = await write_transfers(path)
    await write_outbox(path, sent)
    await write_messages(channel, sent)
    await write_notices(databases["notification"].owner_url, sent)
    connection = await asyncpg.connect(databases["transaction"].owner_url)
    item = sent["set aside"].command(expiry("set aside"))
    await write_dead_letter(connection, "transfers.requested", TRANSFERS_REQUESTED, sent["set aside"], item)
    await connection.close()
    return sent


@asynccontextmanager
async def notification_worker(
    path: MoneyPath, database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[None]:
    """The worker role, catching up from the transaction service's api."""
    monkeypatch.setattr(commands, "FINALIZED_GRACE_SECONDS", 0.0)
    app = server.application("transaction")
    app[api.POOL] = path.pool
    api.add_routes(app, TokenVerifier(path.keys["transaction"].public_keys, audience="transaction"))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    identity = path.keys["notification-worker"]
    settings = WorkerSettings(
        notification_database_url=database.service_url,
        rabbitmq_url=path.rabbitmq_url,
        transaction_url=f"http://127.0.0.1:{runner.addresses[0][1]}",
        catch_up_seconds=0.2,
        service_key=base64.b64encode(identity.key.private_bytes_raw()).decode(),
        service_public_keys={
            name: base64.b64encode(key.public_bytes_raw()).decode() for name, key in identity.public_keys.items()
        },
    )
    runtime = Runtime(service="notification", role="worker", instance="notification-worker-test")
    role = asyncio.create_task(serve_worker(settings, runtime))
    try:
        yield
    finally:
        runtime.stopping.set()
        await role
        await runner.cleanup()


async def replay_dead_letters(url: str, rabbitmq_url: str) -> None:
    """Actor every dead letter that waits."""
    pool = await database.open_pool(url, name="test", size_max=2)
    publisher = Publisher(rabbitmq_url, "test")
    for letter in await pool.fetch("SELECT * FROM dead_letters WHERE state = 'waiting'"):
        await dead_letters.replay(pool, publisher, letter, Actor(new_id(), "request"))
    await publisher.close()
    await close_pool(pool)


def expected_notifications(sent: dict[str, Sent]) -> Counter[tuple[UUID, UUID, str]]:
    """One for each side of a completed transfer, one for the sender of a failed one."""
    found: Counter[tuple[UUID, UUID, str]] = Counter()
    for name, one in sent.items():
        if OUTCOMES[name][0] == "COMPLETED":
            found[one.id, one.request.user_id, "transfer_completed"] += 1
            found[one.id, one.recipient_id, "transfer_received"] += 1
        else:
            found[one.id, one.request.user_id, "transfer_failed"] += 1
    return found


def expected_lines(sent: dict[str, Sent]) -> Counter[tuple[UUID, str, str]]:
    """The lines of feeds about outcomes: those of the transfers that were recorded before were not written by this test."""
    found: Counter[tuple[UUID, str, str]] = Counter()
    for name, one in sent.items():
        if name in ("recorded", "redelivered"):
            continue
        status = OUTCOMES[name][0].lower()
        viewers = [one.request.user_id] + ([one.recipient_id] if status == "completed" else [])
        for user_id in viewers:
            found[user_id, f"transfer.{status}", str(one.id)] += 1
    return found


async def test_nothing_of_the_previous_version_is_lost(
    path: MoneyPath,
    databases: dict[str, TestDatabase],
    channel: AbstractChannel,
    rabbitmq: RabbitMQ,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each transfer gets its outcome, each notification and event exists once, keys replay, and the old queues are gone."""
    sent = await write_data(path, databases, channel)
    for service, made in databases.items():
        await migrations.migrate(service, made.owner_url)
    pool = await databases["notification"].pool()
    path.stack.push_async_callback(close_pool, pool)

    path.start_relay()
    path.start_worker()
    async with notification_worker(path, databases["notification"], monkeypatch):
        for service in ("transaction", "notification"):
            await replay_dead_letters(databases[service].service_url, rabbitmq.url)
        await path.sweep()
        finalized = await path.finalized([one.id for one in sent.values()])
        async with asyncio.timeout(60):
            while await pool.fetchval("SELECT count(*) FROM notifications") < expected_notifications(sent).total():
                await asyncio.sleep(0.05)
            while await path.pool.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL"):
                await asyncio.sleep(0.05)
            newest = await path.pool.fetchval("SELECT id FROM transfers ORDER BY finalized_at DESC, id DESC LIMIT 1")
            while await pool.fetchval("SELECT transfer_id FROM positions") != newest:
                await asyncio.sleep(0.05)
    replayed = await accept(path.intake(), *(one.request for one in sent.values()))

    assert OUTCOMES == {name: (finalized[one.id].status, finalized[one.id].failure_code) for name, one in sent.items()}
    assert expected_notifications(sent) == Counter(
        tuple(row) for row in await pool.fetch("SELECT transfer_id, user_id, kind FROM notifications")
    )
    lines = f"SELECT user_id, type, id::text FROM {feeds.LINES} WHERE type IN ('transfer.completed', 'transfer.failed')"
    assert expected_lines(sent) == Counter(tuple(row) for row in await pool.fetch(lines))
    assert 4 == await pool.fetchval(
        "SELECT count(*) FROM deliveries JOIN notifications ON notifications.id = notification_id"
    )
    assert [("transfers.finalized",)] == [tuple(row) for row in await pool.fetch("SELECT route FROM positions")]
    for one in (pool, path.pool):
        assert ["replayed"] == [row["state"] for row in await one.fetch("SELECT state FROM dead_letters")]
    assert [(True, one.id) for one in sent.values()] == [
        (answer.replayed, answer.transfer.id) for answer in replayed if isinstance(answer, Accepted)
    ]
    assert [] == [name for name in OLD_QUEUE.names if await is_declared(rabbitmq.url, name)]


async def is_declared(url: str, name: str) -> bool:
    connection = await broker.connect(url, "test")
    async with connection:
        channel = await connection.channel()
        try:
            await channel.declare_queue(name, passive=True)
        except ChannelClosed:
            return False
    return True


@pytest.mark.parametrize("service", BEFORE)
async def test_audit_log_keeps_its_entries(postgres: Postgres, service: str) -> None:
    """The act of an entry that was recorded before is its action."""
    async with at_revision(postgres, service) as made:
        connection = await asyncpg.connect(made.owner_url)
        await connection.execute(AUDITS[service], new_id())
        await migrations.migrate(service, made.owner_url)
        actions = await connection.fetch("SELECT action FROM audit_log WHERE request_id = 'request'")
        await connection.close()

    assert ["before"] == [row["action"] for row in actions]
