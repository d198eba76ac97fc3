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
    transaction_port: Port = 8000
    transaction_pool_size_max: Annotated[int, Field(ge=2, le=100)] = 12
    transaction_read_pool_size_max: Annotated[int, Field(ge=1, le=100)] = 6
    wallet_url: str
    auth_url: str
    rabbitmq_url: BrokerUrls
    reversal_after_seconds: Seconds = 60.0
    backlog_seconds_max: Seconds = 20.0

    @property
    def database_connections_max(self) -> int:
        """The pools of the role."""
        return self.transaction_pool_size_max + self.transaction_read_pool_size_max


class RelaySettings(RoleSettings):
    """The relay role."""

    transaction_database_url: EngineUrl
    rabbitmq_url: BrokerUrls

    @property
    def database_connections_max(self) -> int:
        """The pools of the role."""
        return BACKGROUND_POOL_SIZE_MAX


class WorkerSettings(RoleSettings):
    """The worker role."""

    transaction_database_url: EngineUrl
    rabbitmq_url: BrokerUrls
    wallet_url: str
    consumer_attempts_max: Annotated[int, Field(ge=1, le=100)] = 8

    @property
    def database_connections_max(self) -> int:
        """The pools of the role."""
        return BACKGROUND_POOL_SIZE_MAX


class ReversalSettings(RoleSettings):
    """The reversal role: a pass every few seconds, until it stops or, as a CronJob, for a limited time."""

    transaction_database_url: EngineUrl
    wallet_url: str
    reversal_every_seconds: Seconds = 5.0
    reversal_seconds_max: Seconds | None = None

    @property
    def database_connections_max(self) -> int:
        """The pools of the role."""
        return BACKGROUND_POOL_SIZE_MAX


class MigrateSettings(ProcessSettings):
    """The migrate job."""

    transaction_owner_database_url: EngineUrl
