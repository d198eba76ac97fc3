"""Settings of the wallet's roles."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.chassis.settings import PREFIX, EngineUrl, Port, RoleSettings, Seconds


class WalletSettings(RoleSettings):
    """The api role."""

    wallet_database_url: EngineUrl
    wallet_proof_database_url: EngineUrl
    wallet_port: Port = 8000
    wallet_pool_size_max: Annotated[int, Field(ge=2, le=100)] = 12
    wallet_read_pool_size_max: Annotated[int, Field(ge=1, le=100)] = 6


class SealSettings(RoleSettings):
    """The seal role."""

    wallet_seal_database_url: EngineUrl
    seal_every_seconds: Seconds = 1.0
    proof_every_seconds: Seconds = 60.0


class MigrateSettings(BaseSettings):
    """The migrate job."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    wallet_owner_database_url: EngineUrl
