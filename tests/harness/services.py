"""The money path inside the test process: the wallet's api, intake, relay, worker and reversal on real engines."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from uuid import UUID

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.local.engines import RabbitMQ
from deploy.local.engines.rabbitmq_cluster import RabbitMQCluster
from services.chassis import broker, server
from services.chassis.broker import Publisher
from services.chassis.client import Upstream
from services.chassis.consumer import Consumer
from services.chassis.database import Pool, close_pool
from services.chassis.outbox import Relay
from services.chassis.replica import Reader
from services.chassis.roles import Runtime
from services.chassis.service_tokens import Identity, TokenVerifier
from services.contracts import topology
from services.contracts.identifiers import new_id
from services.contracts.messages import decode_command
from services.transaction import commands, reversal
from services.transaction.app import INTAKE_SETTINGS
from services.transaction.auth_client import AuthClient
from services.transaction.intake import Intake, Request, Result
from services.transaction.transfer import Transfer
from services.transaction.wallet_client import WalletClient
from services.transaction.worker import Worker
from services.wallet import api as wallet_api
from services.wallet.app import PLANNER
from tests.harness import ledgers
from tests.harness.databases import TestDatabase

IDENTITIES = (
    "gateway",
    "auth",
    "wallet",
    "transaction",
    "transaction-worker",
    "transaction-reversal",
    "notification",
    "notification-worker",
)


def identities(names: Sequence[str] = IDENTITIES) -> dict[str, Identity]:
    """A key pair for every role; each knows all public keys."""
    seeds = {name: os.urandom(32) for name in names}
    public = {
        name: base64.b64encode(Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()).decode()
        for name, seed in seeds.items()
    }
    return {name: Identity.from_base64(base64.b64encode(seed).decode(), public) for name, seed in seeds.items()}


class Recipients(AuthClient):
    """Replaces auth in tests with e-mail recipients: the only request the intake sends to it."""

    def __init__(self) -> None:
        self.known: dict[str, UUID] = {}

    async def find_recipients(self, emails: Sequence[str]) -> dict[str, UUID]:
        return {email: self.known[email] for email in emails if email in self.known}


@dataclass
class MoneyPath:
    """Everything between an accepted request and a finalized transfer. Each test starts the roles it needs."""

    wallet_pool: Pool
    pool: Pool
    wallet_url: str
    keys: dict[str, Identity]
    rabbitmq_url: str
    stack: AsyncExitStack
    reversal_after: timedelta = timedelta(seconds=60)
    people: Recipients = field(default_factory=Recipients)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    runtimes: dict[str, Runtime] = field(default_factory=dict)

    def wallet(self, identity: str) -> WalletClient:
        upstream = Upstream("transaction", "wallet", self.wallet_url, self.keys[identity])
        self.stack.push_async_callback(upstream.close)
        return WalletClient(upstream)

    def intake(self, expect_seconds: Callable[[], float | None] = lambda: None) -> Intake:
        return Intake(
            self.pool,
            wallet=self.wallet("transaction"),
            auth=self.people,
            reversal_after=self.reversal_after,
            expect_seconds=expect_seconds,
        )

    def start_relay(self) -> None:
        runtime = self._runtime("relay")
        publisher = Publisher(self.rabbitmq_url, "test relay")
        self.stack.push_async_callback(publisher.close)
        self.tasks["relay"] = asyncio.create_task(Relay(self.pool, publisher, runtime).run())

    def start_worker(self, name: str = "worker-1", *, attempts_max: int = 3) -> Worker:
        runtime = self._runtime(name)
        worker = Worker(self.pool, self.wallet("transaction-worker"), name)
        consumer = Consumer(
            url=self.rabbitmq_url,
            queue=topology.REQUESTED_QUEUE,
            route=topology.TRANSFERS_REQUESTED,
            decode=decode_command,
            handle=worker.on_transfers_requested,
            runtime=runtime,
            attempts_max=attempts_max,
        )
        self.tasks[name] = asyncio.create_task(consumer.run())
        return worker

    async def sweep(self) -> int:
        return await reversal.sweep(self.pool, self.wallet("transaction-reversal"))

    async def stop(self, name: str) -> None:
        self.runtimes[name].stopping.set()
        await self.tasks.pop(name)

    async def stop_all(self) -> None:
        for name in list(self.tasks):
            await self.stop(name)

    async def finalized(self, transfer_ids: Sequence[UUID], *, seconds: float = 60) -> dict[UUID, Transfer]:
        """Wait until all of them are terminal."""
        async with asyncio.timeout(seconds):
            while len(await commands.list_terminal(self.pool, transfer_ids)) < len(set(transfer_ids)):
                await asyncio.sleep(0.02)
        return await commands.find_transfers(self.pool, transfer_ids)

    async def users(self, amounts: Sequence[int], *, currency: str = "USD") -> list[tuple[UUID, UUID]]:
        """(user, wallet) pairs with these balances in minor units."""
        wallets = await ledgers.fund(self.wallet_pool, amounts, currency=currency)
        rows = await self.wallet_pool.fetch("SELECT id, owner_id FROM accounts WHERE id = ANY($1::uuid[])", wallets)
        owners = {row["id"]: row["owner_id"] for row in rows}
        return [(owners[wallet], wallet) for wallet in wallets]

    def _runtime(self, name: str) -> Runtime:
        self.runtimes[name] = Runtime(service="transaction", role=name, instance=name)
        return self.runtimes[name]


def request(user: UUID, to_wallet: UUID, amount: int, *, key: str | None = None, **changes: object) -> Request:
    """A transfer request, hashed over its content."""
    made = Request(
        user_id=user,
        idempotency_key=key or str(new_id()),
        key_hash=b"",
        kind="transfer",
        amount=amount,
        currency="USD",
        to_email=None,
        to_wallet_id=to_wallet,
        from_wallet_id=None,
        description=None,
        metadata=None,
        request_id=str(new_id()),
        traceparent=None,
    )._replace(**changes)  # type: ignore[arg-type]
    content = f"{made.amount}{made.currency}{made.to_wallet_id}{made.to_email}{made.from_wallet_id}{made.description}"
    return made._replace(key_hash=sha256(content.encode()).digest())


async def accept(intake: Intake, *requests: Request) -> list[Result]:
    """Accept these requests as one batch."""
    return await intake.accept(requests)


async def open_money_path(
    stack: AsyncExitStack,
    wallet_database: TestDatabase,
    transaction_database: TestDatabase,
    rabbitmq: RabbitMQ | RabbitMQCluster,
) -> MoneyPath:
    """Start the wallet's api on a free port, and empty the queues."""
    wallet_pool = await wallet_database.pool(**PLANNER)
    stack.push_async_callback(close_pool, wallet_pool)
    pool = await transaction_database.pool(**INTAKE_SETTINGS)
    stack.push_async_callback(close_pool, pool)
    keys = identities()
    app = server.application("wallet")
    app[wallet_api.POOL] = wallet_pool
    app[wallet_api.READ_POOL] = wallet_pool
    app[wallet_api.READER] = Reader(wallet_pool)
    app[wallet_api.PROOF_POOL] = wallet_pool
    wallet_api.add_routes(app, TokenVerifier(keys["wallet"].public_keys, audience="wallet"))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    path = MoneyPath(wallet_pool, pool, f"http://127.0.0.1:{port}", keys, rabbitmq.url, stack)
    await purge(rabbitmq.url)
    stack.push_async_callback(path.stop_all)
    return path


async def purge(url: str) -> None:
    """Declare every queue and purge it."""
    connection = await broker.connect(url, "test purge")
    async with connection:
        channel = await connection.channel()
        await broker.declare(channel)
        for queue in topology.QUEUES:
            for name in queue.names:
                await (await channel.get_queue(name, ensure=False)).purge()
