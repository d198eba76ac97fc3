"""A primary and its synchronous standby for all tests of the session, and each service's pool on the primary."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.auth.keyring import Keyring
from services.auth.passwords import Hashing
from services.chassis.database import Pool, close_pool, open_pool
from services.transaction.app import INTAKE_SETTINGS
from services.wallet.app import PLANNER
from tests.harness import standby
from tests.harness.standby import Pair
from tests.integration.auth.service import QUICK, SECRET

SERVICES = ("auth", "wallet", "transaction", "notification")


@pytest.fixture(scope="session")
async def running_pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    async with standby.running(tmp_path_factory.mktemp("pair"), *SERVICES) as pair:
        yield pair


@pytest.fixture
async def pair(running_pair: Pair) -> AsyncIterator[Pair]:
    """The standby follows when a test begins; what a test leaves behind is with it when the test ends."""
    yield running_pair
    running_pair.resume()


@pytest.fixture
async def pool(pair: Pair, service: str) -> AsyncIterator[Pool]:
    """As the service connects that the module is about."""
    settings = {"wallet": PLANNER, "transaction": INTAKE_SETTINGS}.get(service, {})
    url = pair.primary.dsn(service, f"payflow_{service}")
    opened = await open_pool(url, name="test", size_max=4, server_settings=settings)
    yield opened
    pair.resume()
    await close_pool(opened)


@pytest.fixture(scope="session")
def keyring() -> Keyring:
    return Keyring(SECRET)


@pytest.fixture
async def hashing() -> AsyncIterator[Hashing]:
    opened = Hashing(QUICK)
    yield opened
    opened.close()
