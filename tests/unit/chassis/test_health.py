"""The responses of `/readyz` and `/livez`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from services.chassis import health
from services.chassis.health import Health


async def good() -> None:
    """Answers."""


async def unavailable() -> None:
    raise OSError("connection refused")


async def silent() -> None:
    await asyncio.Event().wait()


@pytest.fixture
async def served() -> AsyncIterator[tuple[Health, TestClient[web.Request, web.Application]]]:
    """The health of a process, and a client of it."""
    watched = Health()
    async with TestClient(TestServer(health.metrics_application(watched))) as client:
        yield watched, client


async def test_ready_while_all_dependencies_respond(
    served: tuple[Health, TestClient[web.Request, web.Application]],
) -> None:
    """200 and the names of the dependencies that respond."""
    watched, client = served
    watched.register("postgres", good)
    async with client.get("/readyz") as response:
        assert (200, {"ok": ["postgres"], "failing": []}) == (response.status, await response.json())
        assert "Retry-After" not in response.headers


async def test_not_ready_while_a_dependency_is_unavailable(
    served: tuple[Health, TestClient[web.Request, web.Application]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with `Retry-After` and the names; a dependency that does not respond in time is unavailable; the process is alive."""
    monkeypatch.setattr(health, "PING_SECONDS", 0.1)
    watched, client = served
    for name, ping in (("postgres", good), ("redis", unavailable), ("rabbitmq", silent)):
        watched.register(name, ping)
    async with asyncio.timeout(20):
        async with client.get("/readyz") as response:
            assert (503, "1") == (response.status, response.headers["Retry-After"])
            assert {"ok": ["postgres"], "failing": ["redis", "rabbitmq"]} == await response.json()
        async with client.get("/livez") as response:
            assert (200, {"status": "ok"}) == (response.status, await response.json())


async def test_not_ready_while_draining(served: tuple[Health, TestClient[web.Request, web.Application]]) -> None:
    """A draining process is not ready, even if all dependencies respond."""
    watched, client = served
    watched.register("postgres", good)
    watched.draining = True
    async with client.get("/readyz") as response:
        assert (503, "1") == (response.status, response.headers["Retry-After"])
        assert {"ok": ["postgres"], "failing": ["draining"]} == await response.json()
