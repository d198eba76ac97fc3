"""The facts that deployments are derived from are those of the code."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from deploy import facts
from services.chassis import database
from services.chassis.roles import Runtime
from tests.harness import roles


@pytest.mark.parametrize("name", facts.ROLES)
async def test_connections_are_those_of_the_pools(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Each role, really started, opens pools of exactly the stated number of connections, one login per database URL."""
    process = facts.ROLES[name]
    monkeypatch.delenv("PAYFLOW_SECRETS_DIR", raising=False)
    for variable, value in roles.environment(name, PAYFLOW_SMTP_URL=roles.ADDRESSES["_SMTP_URL"]).items():
        monkeypatch.setenv(variable, value)
    sizes: list[int] = []
    opened = database.open_pool

    async def open_pool(url: str, *, size_max: int, **options: Any) -> database.Pool:
        sizes.append(size_max)
        return await opened(url, size_max=size_max, **options)

    monkeypatch.setattr(database, "open_pool", open_pool)
    runtime = Runtime(service=process.service, role=process.command, instance="test")
    runtime.stopping.set()
    main = importlib.import_module(f"services.{process.service}.__main__")
    await main.ROLES[process.command].serve(process.settings(), runtime)

    assert process.database_connections_max == sum(sizes)
    assert bool(process.databases) == ("postgres" in process.engines) == bool(sizes)


def test_edges_are_those_of_the_architecture() -> None:
    """Which role calls which service; a setting that is only tested for presence is no edge."""
    calls = {name: set(process.upstreams) for name, process in facts.ROLES.items() if process.upstreams}
    mail = {name for name, process in facts.ROLES.items() if "smtp" in process.engines}

    assert calls == {
        "gateway": {"auth", "wallet", "transaction", "notification"},
        "transaction": {"auth", "wallet"},
        "transaction-worker": {"wallet"},
        "transaction-reversal": {"wallet"},
        "notification-worker": {"transaction"},
        "notification-deliver": {"auth"},
        "canary": {"gateway"},
    }
    assert mail == {"notification-deliver"}


def test_every_service_listens_where_its_callers_look() -> None:
    """Each role with an API has a port (the canary has none), each role a metrics port, and no job has either."""
    ports = {name for name, process in facts.ROLES.items() if process.port}

    assert ports == set(facts.SERVICES) - {"canary"}
    assert [] == [name for name, process in facts.ROLES.items() if process.metrics_port is None]
    assert [] == [name for name, process in facts.JOBS.items() if process.port or process.metrics_port]


def test_every_password_and_key_is_a_secret() -> None:
    """URLs of engines, keys, and the secrets of auth and of the canary, and no other variable."""
    secrets = set().union(*(process.secrets for process in facts.PROCESSES.values()))
    variables = set().union(*(process.variables for process in facts.PROCESSES.values()))
    engines = ("_DATABASE_URL", "_RABBITMQ_URL", "_REDIS_URL", "_SMTP_URL")

    assert secrets == {
        name for name in variables if name.endswith((*engines, "_SERVICE_KEY", "_AUTH_SECRET", "_CANARY_SECRET"))
    }


def test_an_expired_transfer_is_not_retried() -> None:
    """A message that always fails outlives its transfer, or a transfer could expire behind a dead letter."""
    assert facts.PERIODS.reversal_after < facts.PERIODS.message_lifetime
    assert facts.PERIODS.reversal_every < facts.PERIODS.reversal_gap_max
