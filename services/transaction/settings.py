"""Settings of the transaction service's roles."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from services.chassis.settings import BrokerUrls, EngineUrl, Port, ProcessSettings, RoleSettings, Seconds

BACKGROUND_POOL_SIZE_MAX = 6
"""Database connections of a role that serves no requests."""


class ApiSettings(RoleSettings):
    """The api role."""

    transaction_database_url: EngineUrl
    """The database, as `payflow_transaction`."""

    transaction_port: Port = 8000
    """The port of the API."""

    transaction_pool_size_max: Annotated[int, Field(ge=2, le=100)] = 12
    """Connections for urgent work (2 to 100)."""

    transaction_read_pool_size_max: Annotated[int, Field(ge=1, le=100)] = 6
    """Connections for reads of users and operators (1 to 100)."""

    wallet_url: str
    """The wallet's API."""

    auth_url: str
    """Auth's API."""

    rabbitmq_url: BrokerUrls
    """The broker; several nodes of a cluster, separated by commas."""

    reversal_after_seconds: Seconds = 60.0
    """The age at which a new transfer expires, counted from acceptance and stored in it."""

    backlog_seconds_max: Seconds = 20.0
    """Estimated wait of the queue beyond which new transfers are refused with 503."""

    @property
    def database_connections_max(self) -> int:
        """The pools of the role."""
        return self.transaction_pool_size_max + self.transaction_read_pool_size_max


class RelaySettings(RoleSettings):
    """The relay role."""

    transaction_database_url: EngineUrl
    """The database, as `payflow_transaction`."""

    rabbitmq_url: BrokerUrls
    """The broker; several nodes of a cluster, separated by commas."""

    @property
    def database_connections_max(self) -> int:
        """The pools of the role."""
        return BACKGROUND_POOL_SIZE_MAX


class WorkerSettings(RoleSettings):
    """The worker role."""

    transaction_database_url: EngineUrl
    """The database, as `payflow_transaction`."""

    rabbitmq_url: BrokerUrls
    """The broker; several nodes of a cluster, separated by commas."""

    wallet_url: str
    """The wallet's API."""

    consumer_attempts_max: Annotated[int, Field(ge=1, le=100)] = 8
    """Attempts at an item before it becomes a dead letter."""

    @property
    def database_connections_max(self) -> int:
        """The pools of the role."""
        return BACKGROUND_POOL_SIZE_MAX


class ReversalSettings(RoleSettings):
    """The reversal role: a pass every few seconds, until it stops or, as a CronJob, for a limited time."""

    transaction_database_url: EngineUrl
    """The database, as `payflow_transaction`."""

    wallet_url: str
    """The wallet's API."""

    reversal_every_seconds: Seconds = 5.0
    """The pause between two passes."""

    reversal_seconds_max: Seconds | None = None
    """The role ends after this time, with exit code 0, for a job that is started each minute. None: it runs on."""

    @property
    def database_connections_max(self) -> int:
        """The pools of the role."""
        return BACKGROUND_POOL_SIZE_MAX


class MigrateSettings(ProcessSettings):
    """The migrate job."""

    transaction_owner_database_url: EngineUrl
    """The database, as its owner."""
