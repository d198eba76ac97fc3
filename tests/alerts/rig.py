"""A private stack whose connections can be broken, under load, with a real Prometheus, Alertmanager and receiver beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.local import files
from deploy.local.progress import Report
from deploy.monitoring import shortened
from deploy.monitoring.servers import CERTIFICATES, Servers
from tests.alerts import history
from tests.alerts.certificates import SecurePage
from tests.alerts.notifications import Notifications
from tests.alerts.traffic import Traffic, users
from tests.chaos import system as faulty
from tests.chaos.system import ProxiedSystem
from tests.harness import monitoring
from tests.harness.api import Person
from tests.harness.prometheus import Prometheus
from tests.harness.prometheus import running as monitored

SETTINGS = {
    "PAYFLOW_RATE_LIMITS": "off",
    "PAYFLOW_CANARY_EVERY_SECONDS": "5",
    "PAYFLOW_REVERSAL_AFTER_SECONDS": "20",
    "PAYFLOW_PROOF_EVERY_SECONDS": "15",
}
"""Frequent payments of the canary, an early expiry and a frequent proof, so that there is something to be noticed soon.

The rules do not change by this."""

INTERVAL = str(monitoring.read(monitoring.FOLDER / "prometheus" / "prometheus.yml")["global"]["scrape_interval"])
"""As in Compose."""

MONITORING = "monitoring"
WATCHDOG_SECONDS = 75.0
"""It is repeated every 30 s, or every minute if a repetition is just missed."""

LOADED_SECONDS_MAX = 60.0
WARM_SCRAPES = 3
"""An increase of a counter is seen only once the counter was read before."""


@dataclass(slots=True)
class Rig:
    """Everything that a fault can break, and what is seen of it."""

    system: ProxiedSystem
    servers: Servers
    prometheus: Prometheus
    notifications: Notifications
    traffic: Traffic
    operator: Person
    idle: Person
    """A user with money who takes no part in the load."""
    page: SecurePage
    options: Mapping[str, Any]
    """Of the configuration of Prometheus."""

    async def use_rules(self, folder: Path) -> None:
        """Let Prometheus read the rules in this folder in place of the former ones."""
        self.servers.reload(**self.options, rules=folder)
        async with asyncio.timeout(LOADED_SECONDS_MAX):
            while not await self._reads(folder):
                await asyncio.sleep(0.2)

    async def firing(self) -> set[str]:
        """The names of the alerts that are firing now, by Prometheus."""
        samples = await self.prometheus.query('ALERTS{alertstate="firing"}')
        return {sample["metric"]["alertname"] for sample in samples}

    async def _reads(self, folder: Path) -> bool:
        groups = (await self.prometheus.get("rules"))["groups"]
        return bool(groups) and all(Path(group["file"]).parent == folder for group in groups)


@asynccontextmanager
async def start(folder: Path, *, report: Report) -> AsyncIterator[Rig]:
    """Start everything below `folder`, with the real rules; stop everything afterwards."""
    async with AsyncExitStack() as parts:
        stack = await parts.enter_async_context(faulty.start(folder, report=report, settings=SETTINGS))
        operator, people = await parts.enter_async_context(users(stack.stack["gateway"]))
        page = SecurePage(folder / "certificates")
        await parts.enter_async_context(page.served())
        options = {"interval": INTERVAL, "labels": {}, "probed": [f"{stack.gateway}/livez", page.address]}
        files.make_folder(folder / MONITORING)
        (folder / MONITORING / CERTIFICATES).write_text(page.trusted)
        await history.write(folder / MONITORING / "prometheus", interval=shortened.seconds(INTERVAL))
        prometheus, servers = await parts.enter_async_context(
            monitored(stack.stack, folder / MONITORING, watchdog_seconds=WATCHDOG_SECONDS, **options)
        )
        notifications, traffic = Notifications(servers.alerts), Traffic(people[1:])
        rig = Rig(stack, servers, prometheus, notifications, traffic, operator, people[0], page, options)
        for work in (
            servers.watch(report),
            notifications.follow(),
            notifications.follow_unsent(prometheus),
            traffic.run(),
        ):
            parts.push_async_callback(_end, asyncio.create_task(work))
        await prometheus.until(f"min(count_over_time(up[10m])) >= {WARM_SCRAPES}")
        yield rig


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def write_shortened(folder: Path) -> Path:
    """Write the rules with shorter durations; returns their folder."""
    files.make_folder(folder)
    for name, document in shortened.documents().items():
        (folder / name).write_text(yaml.safe_dump(document, sort_keys=False))
    return folder
