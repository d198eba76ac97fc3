"""Settings of the transaction service's roles."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.chassis.settings import PREFIX, BrokerUrls, EngineUrl, Port, RoleSettings, Seconds


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


class RelaySettings(RoleSettings):
    """The relay role."""

    transaction_database_url: EngineUrl
    rabbitmq_url: BrokerUrls


class WorkerSettings(RoleSettings):
    """The worker role."""

    transaction_database_url: EngineUrl
    rabbitmq_url: BrokerUrls
    wallet_url: str
    consumer_attempts_max: Annotated[int, Field(ge=1, le=100)] = 8


class ReversalSettings(RoleSettings):
    """The reversal role: a pass every few seconds, until it stops or, as a CronJob, for a limited time."""

    transaction_database_url: EngineUrl
    wallet_url: str
    reversal_every_seconds: Seconds = 5.0


class MigrateSettings(BaseSettings):
    """The migrate job."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    transaction_owner_database_url: EngineUrl
