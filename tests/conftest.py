"""Private engines for the whole run, started on first use, and fresh databases for each test."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import hypothesis
import pytest

from deploy.local import environment
from deploy.local.engines import Engine, Postgres, RabbitMQ, Redis
from services.chassis import database, logs
from tests.harness import databases, drills, leaks, memory
from tests.harness.api import ApiClient, Person
from tests.harness.databases import DataFolder, Templates, TestDatabase
from tests.harness.expansion import expand
from tests.harness.stack import Stack, running

pytest_plugins = ["tests.harness.collection", "tests.harness.placement", "tests.harness.time_limits"]

# Before any test connects: only the database URLs decide how to connect.
environment.forget_driver_variables(os.environ)

# As in production. structlog's default for terminals prints coloured tracebacks, which take seconds each.
logs.configure(service="tests", role="tests", instance="tests", level="warning", console=False)

# How fast examples are generated depends on the machine, not on the code under test.
hypothesis.settings.register_profile("busy", suppress_health_check=[hypothesis.HealthCheck.too_slow], deadline=None)
hypothesis.settings.load_profile("busy")

# A folder whose engines are already running and are stopped elsewhere: many short runs share them.
SHARED = os.environ.get("PAYFLOW_TEST_ENGINES")


@asynccontextmanager
async def _started(engine: Engine) -> AsyncIterator[None]:
    if SHARED is None:
        await engine.start()
    yield
    if SHARED is None:
        await engine.stop()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the drills of the other form; pytest counts them as deselected, not as passed or skipped."""
    other = "short_drill" if drills.FULL else "full_drill"
    left_out = [item for item in items if item.get_closest_marker(other)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def engines_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In memory where that is possible: creating a database writes 300 files."""
    if SHARED is not None:
        yield Path(SHARED)
    elif memory.is_available():
        with memory.folder() as made:
            yield made
    else:
        yield tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    base = tmp_path_factory.getbasetemp()
    # Below the folder that all processes of the run share.
    return DataFolder((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "data-folder")


@pytest.fixture(scope="session")
async def postgres(engines_directory: Path, data_folder: DataFolder) -> AsyncIterator[Postgres]:
    engine = Postgres(engines_directory / "postgres", settings=databases.SETTINGS)
    if SHARED is None:
        await data_folder.copy(engine.directory, engine.directory / "secrets.json")
    async with _started(engine):
        yield engine


@pytest.fixture(scope="session")
async def rabbitmq(engines_directory: Path) -> AsyncIterator[RabbitMQ]:
    engine = RabbitMQ(engines_directory / "rabbitmq")
    async with _started(engine):
        yield engine


@pytest.fixture(scope="session")
async def redis(engines_directory: Path) -> AsyncIterator[Redis]:
    engine = Redis(engines_directory / "redis")
    async with _started(engine):
        yield engine


@pytest.fixture(scope="session")
async def templates(postgres: Postgres) -> AsyncIterator[Templates]:
    made = Templates(postgres)
    yield made
    await made.close()


@pytest.fixture
def patient_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait long for a connection of a pool: a burst of a test opens many at once, on a busy machine."""
    monkeypatch.setattr(database, "ACQUIRE_SECONDS", 30.0)
    monkeypatch.setattr(database, "CONNECT_SECONDS", 30.0)


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


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory, data_folder: DataFolder) -> AsyncIterator[Stack]:
    """The whole system as processes; a test that breaks something heals it before it ends.

    Its databases are those of the release after this one: while it runs, a migration that only adds is made.
    """
    home = tmp_path_factory.mktemp("stack")
    async with running(home, data=data_folder) as started:
        for service, url in started["databases"].items():
            await expand(url, service)
        yield started
        # After all tests that used it, so that every series they caused is there.
        assert [] == leaks.labeled_with_ids(await started.pages()), "a label needs a closed set of values"
    assert [] == leaks.forged(home / "logs")


@pytest.fixture(scope="session")
async def api(stack: Stack) -> AsyncIterator[ApiClient]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield ApiClient(session, stack["gateway"])


@pytest.fixture(scope="session")
async def operator(api: ApiClient) -> Person:
    return await api.login("ops@example.com", "payflow-demo-1")


@pytest.fixture
async def alice(api: ApiClient, operator: Person) -> Person:
    """A new user with 1,000.00 USD."""
    person = await api.register("Alice Test")
    await operator.fund(person, 100_000)
    return person


@pytest.fixture
async def bob(api: ApiClient) -> Person:
    """A new user with an empty wallet."""
    return await api.register("Bob Test")
