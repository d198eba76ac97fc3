"""Settings of the wallet's roles."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from services.chassis.settings import EngineUrl, Port, ProcessSettings, RoleSettings, Seconds

PROOF_POOL_SIZE_MAX = 2
DRIFT_POOL_SIZE_MAX = 1
SEAL_POOL_SIZE_MAX = 3


class WalletSettings(RoleSettings):
    """The api role."""

    wallet_database_url: EngineUrl
    """The database, as `payflow_wallet`."""

    wallet_proof_database_url: EngineUrl
    """The database, as `payflow_wallet_proof`: it reads everything and writes nothing."""

    wallet_read_database_url: EngineUrl | None = None
    """A standby of the database, as `payflow_wallet`: serves statements while it is near enough."""

    wallet_read_lag_seconds_max: Annotated[float, Field(gt=0, le=60)] = 2.0
    """How old a statement from the standby may be, in seconds (up to 60)."""

    wallet_port: Port = 8000
    """The port of the API."""

    wallet_pool_size_max: Annotated[int, Field(ge=2, le=100)] = 12
    """Connections for urgent work (2 to 100)."""

    wallet_read_pool_size_max: Annotated[int, Field(ge=1, le=100)] = 6
    """Connections for reads of users and operators (1 to 100)."""

    @property
    def database_connections_max(self) -> int:
        """The pools of the role."""
        return self.wallet_pool_size_max + self.wallet_read_pool_size_max + PROOF_POOL_SIZE_MAX + DRIFT_POOL_SIZE_MAX


class SealSettings(RoleSettings):
    """The seal role."""

    wallet_seal_database_url: EngineUrl
    """The database, as `payflow_wallet_seal`: it seals and cannot post."""

    seal_every_seconds: Seconds = 1.0
    """The pause between two blocks."""

    proof_every_seconds: Seconds = 60.0
    """The pause after a run of the proof; at least forty times as long as the run, up to ten minutes."""

    @property
    def database_connections_max(self) -> int:
        """The pools of the role."""
        return SEAL_POOL_SIZE_MAX


class MigrateSettings(ProcessSettings):
    """The migrate job."""

    wallet_owner_database_url: EngineUrl
    """The database, as its owner."""
