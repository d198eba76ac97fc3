"""The notification service's pool on a fresh database, and who may call it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.local.ports import find_free
from services.chassis.client import Upstream
from services.chassis.database import Pool, close_pool
from services.chassis.roles import Runtime
from services.chassis.service_tokens import Identity, TokenVerifier
from services.transaction import commands as transaction
from services.transaction.app import PLANNER
from tests.harness import feeds
from tests.harness.databases import TestDatabase
from tests.integration.notification.transfers import Transfers

IDENTITIES = ("gateway", "auth", "transaction-worker", "notification", "notification-worker", "notification-deliver")


@pytest.fixture
async def pool(notification_database: TestDatabase, patient_pools: None) -> AsyncIterator[Pool]:
    """As the service connects. After each test every feed must be complete."""
    opened = await notification_database.pool()
    yield opened
    torn = await opened.fetch(
        f"""
        SELECT user_id, last_seq, array_agg(seq ORDER BY seq) FILTER (WHERE seq IS NOT NULL) AS seqs
        FROM event_counters FULL JOIN {feeds.LINES} USING (user_id)
        GROUP BY user_id, last_seq
        HAVING coalesce(array_agg(seq ORDER BY seq) FILTER (WHERE seq IS NOT NULL), '{{}}')
               IS DISTINCT FROM ARRAY(SELECT generate_series(1, last_seq))
        """
    )
    await close_pool(opened)
    assert torn == []


@pytest.fixture
def runtime() -> Runtime:
    """A process that runs."""
    return Runtime(service="notification", role="test", instance="notification-test")


@pytest.fixture(scope="session")
def seeds() -> dict[str, str]:
    """The private key of each identity, as configured."""
    keys = {name: Ed25519PrivateKey.generate().private_bytes_raw() for name in IDENTITIES}
    return {name: base64.b64encode(raw).decode() for name, raw in keys.items()}


@pytest.fixture(scope="session")
def public_keys(seeds: dict[str, str]) -> dict[str, str]:
    """The public key of each identity, as configured."""
    keys = {name: Ed25519PrivateKey.from_private_bytes(base64.b64decode(seed)) for name, seed in seeds.items()}
    return {name: base64.b64encode(key.public_key().public_bytes_raw()).decode() for name, key in keys.items()}


@pytest.fixture
async def transfers(
    transaction_database: TestDatabase,
    seeds: dict[str, str],
    public_keys: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Transfers]:
    """Not served yet. Without grace: finalized transfers are listed at once."""
    monkeypatch.setattr(transaction, "FINALIZED_GRACE_SECONDS", 0.0)
    keys = Identity.from_base64(seeds["notification"], public_keys).public_keys
    async with AsyncExitStack() as stack:
        pool = await transaction_database.pool(**PLANNER)
        stack.push_async_callback(close_pool, pool)
        yield Transfers(pool, TokenVerifier(keys, audience="transaction"), stack, find_free())


@pytest.fixture
async def upstream(transfers: Transfers, seeds: dict[str, str], public_keys: dict[str, str]) -> AsyncIterator[Upstream]:
    """The transaction service, as the worker calls it."""
    await transfers.serve()
    identity = Identity.from_base64(seeds["notification-worker"], public_keys)
    made = Upstream("notification", "transaction", transfers.url, identity)
    yield made
    await made.close()
