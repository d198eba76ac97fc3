"""Settings of the auth service's roles."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from services.chassis.settings import EngineUrl, Port, ProcessSettings, RoleSettings, Secret


class AuthSettings(RoleSettings):
    """The api role."""

    auth_database_url: EngineUrl
    """The database, as `payflow_auth`."""

    auth_port: Port = 8000
    """The port of the API."""

    auth_secret: Secret
    """Seals signing keys and second factors in the database. With another one auth does not start."""

    canary_secret: Secret | None = None
    """The passwords of the canary's accounts are derived from it; without it no address in `invalid` can be registered."""

    auth_pool_size_max: Annotated[int, Field(ge=2, le=100)] = 10
    """Connections for urgent work (2 to 100)."""

    auth_read_pool_size_max: Annotated[int, Field(ge=1, le=100)] = 4
    """Connections for reads of users and operators (1 to 100)."""

    session_retention_days: Annotated[int, Field(ge=31, le=3650)] = 90
    """How long sessions that have ended are kept (31 to 3650 days). The audit log, which names them, is never removed."""

    redis_url: EngineUrl | None = None
    """Wakes the gateways when a session ends; without it they poll."""

    @property
    def database_connections_max(self) -> int:
        """The pools of the role."""
        return self.auth_pool_size_max + self.auth_read_pool_size_max


class MigrateSettings(ProcessSettings):
    """The migrate job."""

    auth_owner_database_url: EngineUrl
    """The database, as its owner."""


class GrantSettings(ProcessSettings):
    """The grant job."""

    auth_database_url: EngineUrl
    """The database, as `payflow_auth`."""


class RotateSettings(ProcessSettings):
    """The rotate-keys job."""

    auth_database_url: EngineUrl
    """The database, as `payflow_auth`."""

    auth_secret: Secret
    """Seals signing keys and second factors in the database. With another one auth does not start."""
