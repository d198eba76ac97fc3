"""The plan of PayFlow: its engines, databases and migrations, processes, and stack.json."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from deploy.local import engine_sets, files, install, seed
from deploy.local.engines import Engine
from deploy.local.home import Home
from deploy.local.ports import Ports
from deploy.local.process import Process
from deploy.local.progress import report, timed
from deploy.local.roles import CANARY, SERVICES, Wiring
from deploy.local.stack import run_to_end
from deploy.secrets.store import Secrets
from services.chassis import revisions

MIGRATION_SECONDS_MAX = 60.0
GRANT_SECONDS_MAX = 30.0
SEEDED = "seeded"
"""Exists once the demo users have their money; in the same folder as the data."""


class PayFlow:
    """The complete system below one folder."""

    funds_canary = True
    """Whether the first start gives the canary its money, if there is a canary."""

    def __init__(self, home: Home, caller: Mapping[str, str], *, wiring: type[Wiring] = Wiring) -> None:
        """Plan the system below `home`, started from the environment `caller`; `wiring` configures its processes."""
        self._home = home
        ports, secrets = Ports(home.ports), Secrets(home.secrets)
        self._private = engine_sets.find(home, ports, secrets, caller=caller)
        self.wiring = wiring(home, engines=self._private, ports=ports, secrets=secrets, caller=caller)
        self.gateway_port = self.wiring.gateway_port
        self.engines: list[Engine] = [*self._private.postgres.parts, *self._private.rabbitmq.parts, self._private.redis]

    async def install(self) -> None:
        """Install the engines' OS packages where they are missing, and choose the ports of clusters."""
        await install.ensure(report, also=self._private.packages)
        self._private.choose_ports()

    async def prepare_databases(self) -> None:
        """Create databases and roles, then migrate the databases in parallel."""
        await self._private.postgres.provision()
        await timed("databases", asyncio.gather(*(self._migrate(service) for service in SERVICES)))

    async def seed(self) -> None:
        """Give the demo users and the canary their money, unless they have it."""
        seeded = self._private.postgres.folder / SEEDED
        if seeded.exists():
            return

        async def grant(email: str) -> None:
            await run_to_end(self.wiring.grant(email), seconds_max=GRANT_SECONDS_MAX)

        with_canary = self.funds_canary and CANARY in self.wiring.roles
        seeding = seed.seed(self.wiring.gateway_url, grant, with_canary=with_canary)
        await timed("demo users", seeding)
        files.write_atomically(seeded, "")

    def processes(self) -> list[Process]:
        """One process per role."""
        self.wiring.take_ports(self.wiring.roles)
        return [self.wiring.process(role) for role in self.wiring.roles]

    def health_urls(self) -> dict[str, str]:
        """The metrics ports."""
        return {role.name: self.wiring.metrics_url(role.name) for role in self.wiring.roles}

    def description(self) -> dict[str, Any]:
        """The content of stack.json; the database URLs are those of the owners."""
        postgres, rabbitmq, redis = self._private.postgres, self._private.rabbitmq, self._private.redis
        return {
            "gateway": self.wiring.gateway_url,
            "services": {service: self.wiring.service_url(service) for service in SERVICES},
            "databases": {service: postgres.dsn(service, f"payflow_{service}_owner") for service in SERVICES},
            "monitoring_database": postgres.dsn("postgres", "payflow_monitor"),
            "rabbitmq": rabbitmq.url,
            "rabbitmq_management": rabbitmq.management_url,
            "redis": redis.url,
            "metrics": self.health_urls(),
        }

    async def _migrate(self, service: str) -> None:
        """Run the service's migrations, unless its database is at the newest one or a later one: a check saves a second."""
        url = self._private.postgres.dsn(service, f"payflow_{service}_owner")
        if (await revisions.find(url) or "") < revisions.newest(service):
            await run_to_end(self.wiring.migration(service), seconds_max=MIGRATION_SECONDS_MAX)
