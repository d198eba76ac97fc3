"""A real Prometheus with the exporters of the OS packages, beside a stack."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import yaml

from deploy.local.ports import LOOPBACK, find_free
from deploy.local.process import Process
from deploy.monitoring import alert_log, local
from deploy.monitoring import alerting as receivers
from deploy.monitoring.alerting import CONFIGURATION, Receivers
from tests.harness.stack import ROOT, Stack

READY_SECONDS_MAX = 60.0
POLL_SECONDS = 0.1
NAMESPACE = "payflow"
"""The label that a Prometheus in Kubernetes adds."""


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
    stack: Stack, folder: Path, *, exporters: bool = False, alertmanager: str | None = None
) -> AsyncIterator[Prometheus]:
    """Prometheus with the rules of this repository, scraping a stack each second; with `exporters` engines and machine too."""
    folder.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as processes, aiohttp.ClientSession() as session:
        addresses = await _start_exporters(stack, folder, processes) if exporters else {}
        broker = f"{LOOPBACK}:{json.loads((stack.home / 'ports.json').read_text())['rabbitmq_prometheus']}"
        made = local.configuration(
            stack.description(), rabbitmq=broker, exporters=addresses, alertmanager=alertmanager, interval="1s"
        )
        for process in made["scrape_configs"][0]["static_configs"]:
            process["labels"]["namespace"] = NAMESPACE
        (folder / "prometheus.yml").write_text(yaml.safe_dump(made))
        address = f"{LOOPBACK}:{find_free()}"
        options = {
            "config.file": folder / "prometheus.yml",
            "storage.tsdb.path": folder / "data",
            "web.listen-address": address,
        }
        await _start(processes, folder, ["prometheus", *(f"--{name}={value}" for name, value in options.items())])
        await _respond(session, f"http://{address}/-/ready")
        yield Prometheus(session, f"http://{address}")


@asynccontextmanager
async def alerting(folder: Path) -> AsyncIterator[tuple[str, Path]]:
    """Alertmanager as it is configured without settings, with its receiver: its address, and the log of the alerts."""
    folder.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as processes, aiohttp.ClientSession() as session:
        address, receiver = (f"{LOOPBACK}:{find_free()}" for _ in range(2))
        for name, text in receivers.texts(Receivers()).items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text.replace("alert-log:9095", receiver))
        log_alerts = [sys.executable, str(Path(alert_log.__file__)), receiver.partition(":")[2]]
        log = await _start(processes, folder, log_alerts)
        options = {
            "config.file": folder / CONFIGURATION,
            "storage.path": folder / "data",
            "web.listen-address": address,
            "cluster.listen-address": "",
        }
        command = ["prometheus-alertmanager", *(f"--{name}={value}" for name, value in options.items())]
        await _start(processes, folder, command)
        await _respond(session, f"http://{receiver}/")
        await _respond(session, f"http://{address}/-/ready")
        yield address, log


async def _start_exporters(stack: Stack, folder: Path, processes: AsyncExitStack) -> dict[str, str]:
    addresses = {name: f"{LOOPBACK}:{find_free()}" for name in ("node", "postgres", "redis")}
    database = f"{stack['databases']['transaction']}?sslmode=disable"
    cache = urlsplit(stack["redis"])
    environments = {
        "node": {},
        "postgres": {"DATA_SOURCE_NAME": database},
        "redis": {
            "REDIS_ADDR": urlunsplit((cache.scheme, f"{cache.hostname}:{cache.port}", "", "", "")),
            "REDIS_PASSWORD": cache.password or "",
        },
    }
    for name, address in addresses.items():
        command = [f"prometheus-{name}-exporter", f"--web.listen-address={address}"]
        await _start(processes, folder, command, environment=environments[name])
    return addresses


async def _start(
    processes: AsyncExitStack,
    folder: Path,
    command: list[str],
    *,
    environment: Mapping[str, str] | None = None,
) -> Path:
    """Start a program that is stopped with `processes`; its log."""
    program = Path(command[0]).name
    process = Process(
        program,
        command,
        environment={"PATH": "/usr/bin:/bin:/usr/local/bin"} | dict(environment or {}),
        directory=ROOT,
        log=folder / f"{program}.log",
    )
    process.spawn()
    processes.push_async_callback(process.stop)
    return process.log


async def _respond(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(READY_SECONDS_MAX):
        while True:
            try:
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(POLL_SECONDS)
