"""The engines of a stack: one of each, or, with HA=1, clusters of three."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deploy.local import install
from deploy.local.engines import Engine, Postgres, PostgresCluster, RabbitMQ, RabbitMQCluster, Redis
from deploy.local.engines.postgres import SUPERUSER
from deploy.local.errors import LocalError
from deploy.local.home import Home
from deploy.local.ports import Ports
from deploy.secrets.store import Secrets


class Databases(Protocol):
    """Where the databases are: one server, or a cluster."""

    @property
    def parts(self) -> list[Engine]:
        """What is started for it."""

    @property
    def folder(self) -> Path:
        """A folder that is lost together with the data."""

    def dsn(self, database: str, role: str = SUPERUSER) -> str:
        """The URL of a database with the login of a role."""

    def replica_dsn(self, database: str, role: str, /) -> str | None:
        """The URL of a database on a replica; None if there is none."""

    async def provision(self) -> None:
        """Create the databases and roles, or update existing ones."""


class Broker(Protocol):
    """The broker: one node, or a cluster."""

    @property
    def parts(self) -> list[Engine]:
        """What is started for it."""

    @property
    def url(self) -> str:
        """The URL with login; those of all nodes, separated by commas."""

    @property
    def management_url(self) -> str:
        """The URL of the management API with login."""


class Engines(Protocol):
    """The engines of a stack."""

    @property
    def postgres(self) -> Databases:
        """The databases."""

    @property
    def rabbitmq(self) -> Broker:
        """The broker."""

    @property
    def redis(self) -> Redis:
        """The cache."""

    @property
    def packages(self) -> tuple[str, ...]:
        """The OS packages that it needs beside the usual ones."""

    def choose_ports(self) -> None:
        """Choose the ports of parts that must know one another before any of them starts."""


@dataclass(frozen=True, slots=True)
class SingleEngines:
    """One engine of each kind."""

    postgres: Postgres
    rabbitmq: RabbitMQ
    redis: Redis

    @classmethod
    def of(cls, home: Home, ports: Ports, secrets: Secrets) -> SingleEngines:
        """The engines below `home`."""
        return cls(
            postgres=Postgres(home.path / "postgres", ports=ports, secrets=secrets, log=home.log("postgres")),
            rabbitmq=RabbitMQ(home.path / "rabbitmq", ports=ports, secrets=secrets, log=home.log("rabbitmq")),
            redis=Redis(home.path / "redis", ports=ports, secrets=secrets, log=home.log("redis")),
        )

    @property
    def packages(self) -> tuple[str, ...]:
        """None."""
        return ()

    def choose_ports(self) -> None:
        """Nothing: each engine chooses its own when it starts."""


@dataclass(frozen=True, slots=True)
class ClusterEngines:
    """Three nodes of PostgreSQL and RabbitMQ each, and one Redis: losing it loses no guarantee."""

    postgres: PostgresCluster
    rabbitmq: RabbitMQCluster
    redis: Redis

    @classmethod
    def of(cls, home: Home, ports: Ports, secrets: Secrets) -> ClusterEngines:
        """The engines below `home`, beside those of a stack with single ones: the data are not shared."""
        return cls(
            postgres=PostgresCluster(home.path, ports=ports, secrets=secrets, log=home.log),
            rabbitmq=RabbitMQCluster(home.path, ports=ports, secrets=secrets, log=home.log),
            redis=Redis(home.path / "redis", ports=ports, secrets=secrets, log=home.log("redis")),
        )

    @property
    def packages(self) -> tuple[str, ...]:
        """Those of etcd and HAProxy; Patroni is a Python package."""
        return tuple(install.CLUSTER_FINDERS)

    def choose_ports(self) -> None:
        """Choose the ports of all nodes."""
        self.postgres.choose_ports()
        self.rabbitmq.choose_ports()


def find(home: Home, ports: Ports, secrets: Secrets, *, caller: Mapping[str, str]) -> Engines:
    """The engines that the environment `caller` chooses: clusters if HA is `1`.

    Raises:
        LocalError: HA has another value.
    """
    if caller.get("HA", "") not in ("", "0", "1"):
        raise LocalError(f"HA is {caller['HA']!r}: it must be 1 for clusters, or 0")
    return (ClusterEngines if caller.get("HA") == "1" else SingleEngines).of(home, ports, secrets)


def end_orphans(home: Home) -> None:
    """End the processes of all engines below `home`, whichever set was started."""
    ports, secrets = Ports(home.ports), Secrets(home.secrets)
    for engines in (SingleEngines.of(home, ports, secrets), ClusterEngines.of(home, ports, secrets)):
        for part in (*engines.postgres.parts, *engines.rabbitmq.parts, engines.redis):
            part.end_orphans()
