"""A real Prometheus with Alertmanager and the exporters of the OS packages, beside a stack."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from deploy.local.ports import LOOPBACK
from deploy.monitoring.alert_log import WATCHDOG_SECONDS
from deploy.monitoring.servers import Servers
from tests.harness.stack import Stack

READY_SECONDS_MAX = 60.0
POLL_SECONDS = 0.1
NAMESPACE = "payflow"
"""The label that a Prometheus in Kubernetes adds."""

OPTIONS = {"interval": "1s", "labels": {"namespace": NAMESPACE}}


class Prometheus:
    """A running server."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query: `metric` and `value`."""
        async with self._session.post(f"{self.url}/api/v1/query", data={"query": expression}) as response:
            document = await response.json()
        assert document["status"] == "success", (expression, document)
        result = document["data"]["result"]
        # A scalar is [time, value].
        return [{"metric": {}, "value": result}] if document["data"]["resultType"] == "scalar" else list(result)

    async def value(self, expression: str) -> float | None:
        """The value of an expression with at most one sample; None without one."""
        samples = await self.query(expression)
        assert len(samples) <= 1, samples
        return float(samples[0]["value"][1]) if samples else None

    async def get(self, path: str) -> Any:
        """The data of a page of the API."""
        async with self._session.get(f"{self.url}/api/v1/{path}") as response:
            return (await response.json())["data"]

    async def until(self, expression: str, *, seconds: float = READY_SECONDS_MAX) -> None:
        """Wait until the expression has samples."""
        async with asyncio.timeout(seconds):
            while not await self.query(expression):
                await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def running(
    stack: Stack, folder: Path, *, watchdog_seconds: float = WATCHDOG_SECONDS, **options: Any
) -> AsyncIterator[tuple[Prometheus, Servers]]:
    """Prometheus, Alertmanager and all exporters beside a stack; `options` are those of `local.configuration`."""
    servers = Servers(folder, stack.description(), broker=broker_of(stack), watchdog_seconds=watchdog_seconds)
    try:
        await servers.start(**OPTIONS | options)
        async with aiohttp.ClientSession() as session:
            yield Prometheus(session, f"http://{servers.addresses['prometheus']}"), servers
    finally:
        await servers.stop()


@asynccontextmanager
async def alerting(folder: Path) -> AsyncIterator[tuple[str, Path]]:
    """Alertmanager alone, with its receiver: its address, and the log of the alerts."""
    servers = Servers(folder, {}, broker="", names=("alertmanager", "alert-log"))
    try:
        await servers.start()
        yield servers.addresses["alertmanager"], servers.alerts
    finally:
        await servers.stop()


def broker_of(stack: Stack) -> str:
    """host:port of the metrics of RabbitMQ."""
    return f"{LOOPBACK}:{json.loads((stack.home / 'ports.json').read_text())['rabbitmq_prometheus']}"
