"""Private engines for the whole run, started when the first test asks for them, and fresh databases for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.local.engines import Postgres, RabbitMQ, Redis
from services.chassis import logs
from tests.harness.databases import Templates, TestDatabase

# As in production, not structlog's default for terminals: its coloured tracebacks take seconds each.
logs.configure(service="tests", role="tests", instance="tests", level="warning", console=False)


@pytest.fixture(scope="session")
def engines_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="session")
async def postgres(engines_directory: Path) -> AsyncIterator[Postgres]:
    engine = Postgres(engines_directory / "postgres")
    await engine.start()
    await engine.provision()
    yield engine
    await engine.stop()


@pytest.fixture(scope="session")
async def rabbitmq(engines_directory: Path) -> AsyncIterator[RabbitMQ]:
    engine = RabbitMQ(engines_directory / "rabbitmq")
    await engine.start()
    yield engine
    await engine.stop()


@pytest.fixture(scope="session")
async def redis(engines_directory: Path) -> AsyncIterator[Redis]:
    engine = Redis(engines_directory / "redis")
    await engine.start()
    yield engine
    await engine.stop()


@pytest.fixture(scope="session")
def templates(postgres: Postgres) -> Templates:
    return Templates(postgres)


@pytest.fixture
async def wallet_database(templates: Templates) -> AsyncIterator[TestDatabase]:
    made = await templates.fresh("wallet")
    yield made
    await templates.drop(made)


@pytest.fixture
async def transaction_database(templates: Templates) -> AsyncIterator[TestDatabase]:
    made = await templates.fresh("transaction")
    yield made
    await templates.drop(made)


@pytest.fixture
async def auth_database(templates: Templates) -> AsyncIterator[TestDatabase]:
    made = await templates.fresh("auth")
    yield made
    await templates.drop(made)


@pytest.fixture
async def notification_database(templates: Templates) -> AsyncIterator[TestDatabase]:
    made = await templates.fresh("notification")
    yield made
    await templates.drop(made)
