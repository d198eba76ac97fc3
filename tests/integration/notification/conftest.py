"""The notification service's pool on a fresh database, and who may call it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.chassis.database import Pool, close_pool
from services.chassis.roles import Runtime
from tests.harness import feeds
from tests.harness.databases import TestDatabase

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
