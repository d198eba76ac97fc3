"""Settings of the auth service's roles."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.chassis.settings import PREFIX, EngineUrl, Port, RoleSettings, Secret


class AuthSettings(RoleSettings):
    """The api role."""

    auth_database_url: EngineUrl
    auth_port: Port = 8000
    auth_secret: Secret
    auth_pool_size_max: Annotated[int, Field(ge=2, le=100)] = 10
    auth_read_pool_size_max: Annotated[int, Field(ge=1, le=100)] = 4
    redis_url: EngineUrl | None = None


class MigrateSettings(BaseSettings):
    """The migrate job."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    auth_owner_database_url: EngineUrl


class GrantSettings(BaseSettings):
    """The grant job."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    auth_database_url: EngineUrl


class RotateSettings(BaseSettings):
    """The rotate-keys job."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    auth_database_url: EngineUrl
    auth_secret: Secret
