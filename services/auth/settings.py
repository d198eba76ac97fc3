"""Settings of the auth service's roles."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from services.chassis.settings import EngineUrl, Port, ProcessSettings, RoleSettings, Secret


class AuthSettings(RoleSettings):
    """The api role."""

    auth_database_url: EngineUrl
    auth_port: Port = 8000
    auth_secret: Secret
    auth_pool_size_max: Annotated[int, Field(ge=2, le=100)] = 10
    auth_read_pool_size_max: Annotated[int, Field(ge=1, le=100)] = 4
    redis_url: EngineUrl | None = None

    @property
    def database_connections_max(self) -> int:
        """The pools of the role."""
        return self.auth_pool_size_max + self.auth_read_pool_size_max


class MigrateSettings(ProcessSettings):
    """The migrate job."""

    auth_owner_database_url: EngineUrl


class GrantSettings(ProcessSettings):
    """The grant job."""

    auth_database_url: EngineUrl


class RotateSettings(ProcessSettings):
    """The rotate-keys job."""

    auth_database_url: EngineUrl
    auth_secret: Secret
