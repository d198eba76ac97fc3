"""Connection budgets: however many slow reads users and operators send, payments have connections of their own.

The reads here wait for a lock on the audit log, which nothing else uses, for as long as the test needs.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.local.ports import find_free
from services.chassis.client import Upstream
from services.chassis.roles import Runtime
from services.chassis.service_tokens import Identity
from services.contracts.identifiers import new_id
from services.contracts.refusal import Refusal
from services.gateway.clients.service import ServiceClient
from services.transaction.app import serve_api as serve_transaction
from services.transaction.settings import ApiSettings
from services.wallet.app import serve_api as serve_wallet
from services.wallet.settings import WalletSettings
from tests.harness.databases import TestDatabase
from tests.harness.ledgers import fund

READERS = 60
READ_CONNECTIONS = 6
PAYMENTS = 12
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'audit_log'::regclass"
NAMES = ("gateway", "transaction", "transaction-worker", "wallet")
SEEDS = {name: base64.b64encode(os.urandom(32)).decode() for name in NAMES}
PUBLIC_KEYS = {
    name: base64.b64encode(
        Ed25519PrivateKey.from_private_bytes(base64.b64decode(seed)).public_key().public_bytes_raw()
    ).decode()
    for name, seed in SEEDS.items()
}


class Services:
    """The apis of the wallet and the transaction service, with their default settings."""

    def __init__(self, stack: AsyncExitStack, ports: dict[str, int]) -> None:
        self._stack, self._ports = stack, ports

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self._ports[service]}"

    def upstream(self, caller: str, service: str) -> Upstream:
        """A client from one service to the other."""
        upstream = Upstream(caller, service, self.url(service), Identity.from_base64(SEEDS[caller], PUBLIC_KEYS))
        self._stack.push_async_callback(upstream.close)
        return upstream


@pytest.fixture
async def services(wallet_database: TestDatabase, transaction_database: TestDatabase) -> AsyncIterator[Services]:
    async with AsyncExitStack() as stack:
        opened = Services(stack, {"wallet": find_free(), "transaction": find_free()})
        common: dict[str, Any] = {"host": "127.0.0.1", "service_public_keys": PUBLIC_KEYS}
        wallet = WalletSettings(
            service_key=SEEDS["wallet"],
            wallet_database_url=wallet_database.service_url,
            wallet_proof_database_url=wallet_database.proof_url,
            wallet_port=opened._ports["wallet"],
            **common,
        )
        transaction = ApiSettings(
            service_key=SEEDS["transaction"],
            transaction_database_url=transaction_database.service_url,
            transaction_port=opened._ports["transaction"],
            wallet_url=opened.url("wallet"),
            auth_url="http://127.0.0.1:1",
            rabbitmq_url="amqp://payflow:not-used-in-this-test@127.0.0.1:1/",
            **common,
        )
        for service, serve in (
            ("wallet", lambda runtime: serve_wallet(wallet, runtime)),
            ("transaction", lambda runtime: serve_transaction(transaction, runtime)),
        ):
            await _start(stack, service, serve)
            await _ready(opened.upstream("gateway", service))
        yield opened


async def _start(stack: AsyncExitStack, service: str, serve: Callable[[Runtime], Awaitable[None]]) -> None:
    runtime = Runtime(service=service, role="api", instance=f"{service}-test")
    running = asyncio.ensure_future(serve(runtime))

    async def stop() -> None:
        runtime.stopping.set()
        await running

    stack.push_async_callback(stop)


async def _ready(upstream: Upstream) -> None:
    client = ServiceClient(upstream)
    async with asyncio.timeout(60):
        while not await client.is_ready():
            await asyncio.sleep(0.05)


@asynccontextmanager
async def slow_reads(database: TestDatabase, upstream: Upstream) -> AsyncIterator[None]:
    """Many clients read the audit log repeatedly, and each read waits; every connection for reads is in use."""
    owner = await asyncpg.connect(database.owner_url)
    transaction = owner.transaction()
    await transaction.start()
    await owner.execute("LOCK TABLE audit_log IN ACCESS EXCLUSIVE MODE")

    async def read() -> None:
        while True:
            try:
                await upstream.call("GET", "/internal/audit", seconds=60)
            except Refusal:
                continue
            raise AssertionError("nothing can be read while the table is locked")

    readers = [asyncio.create_task(read()) for _ in range(READERS)]
    try:
        async with asyncio.timeout(60):
            while await owner.fetchval(WAITING) < READ_CONNECTIONS:
                await asyncio.sleep(0.05)
        yield
        assert not any(reader.done() for reader in readers)
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        await transaction.rollback()
        await owner.close()


async def test_payments_do_not_wait_for_reads(
    services: Services, wallet_database: TestDatabase, transaction_database: TestDatabase
) -> None:
    """While every read hangs and many more wait, all payments are accepted: intake has its own connections."""
    pool = await wallet_database.pool()
    source, destination = await fund(pool, [1000, 0])
    [sender] = [row["owner_id"] for row in await pool.fetch("SELECT owner_id FROM accounts WHERE id = $1", source)]
    await pool.close()
    gateway = services.upstream("gateway", "transaction")

    async def pay() -> dict[str, Any]:
        item = {
            "user_id": str(sender), "idempotency_key": str(new_id()), "request_hash": "ab" * 32, "kind": "transfer",
            "amount": 1, "currency": "USD", "to": {"wallet_id": str(destination)}, "from_wallet_id": None,
            "description": None, "metadata": None, "request_id": str(new_id()), "traceparent": None,
        }  # fmt: skip
        response: dict[str, Any] = await gateway.call("POST", "/internal/transfers", body={"items": [item]}, seconds=60)
        return response["items"][0]

    assert "transfer" in await pay(), "opens the connections that a running service has"
    async with slow_reads(transaction_database, services.upstream("gateway", "transaction")):
        responses = [await pay() for _ in range(PAYMENTS)]

    assert ["PENDING"] * PAYMENTS == [response.get("transfer", response)["status"] for response in responses]


async def test_the_ledger_does_not_wait_for_reads(services: Services, wallet_database: TestDatabase) -> None:
    """While every read of wallets hangs and many more wait, the ledger decides and the intake's checks succeed."""
    worker, intake = services.upstream("transaction-worker", "wallet"), services.upstream("transaction", "wallet")
    voids = [{"transfer_id": str(new_id()), "reason": "cancelled", "request_hash": "ab" * 32} for _ in range(PAYMENTS)]
    wanted = {"ids": [], "owners": [], "external": ["USD"]}

    await intake.call("POST", "/internal/wallets/find", body=wanted, seconds=60)
    async with slow_reads(wallet_database, services.upstream("gateway", "wallet")):
        decided = [await worker.call("POST", "/internal/void", body={"items": [void]}, seconds=60) for void in voids]
        found = await intake.call("POST", "/internal/wallets/find", body=wanted, seconds=60)

    assert ["voided"] * PAYMENTS == [response["items"][0]["outcome"] for response in decided]
    assert 1 == len(found["items"])


async def test_a_slow_read_ends_with_retry_after(services: Services, transaction_database: TestDatabase) -> None:
    """A read that takes too long is 503 with Retry-After, and releases its connection."""
    owner = await asyncpg.connect(transaction_database.owner_url)
    gateway = services.upstream("gateway", "transaction")
    async with owner.transaction():
        await owner.execute("LOCK TABLE audit_log IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Refusal) as refused:
            await gateway.call("GET", "/internal/audit", seconds=60)
    await owner.close()

    assert (503, "1") == (refused.value.status, refused.value.headers["Retry-After"])
    assert {"items": []} == await gateway.call("GET", "/internal/audit", seconds=60)
