"""Pure: the connections to PostgreSQL that the processes of each role may open, with the pool sizes that are configured."""

from __future__ import annotations

from collections.abc import Mapping

from deploy import facts
from deploy.doctor.periods import PoolUse
from services.chassis.settings import PREFIX, RoleSettings

SIZE = "pool_size_max"


def list_uses(replicas: Mapping[str, int], environments: Mapping[str, Mapping[str, str]]) -> list[PoolUse]:
    """One for each role among `replicas`; `environments` are by role, too."""
    return [
        PoolUse(role, count, _connections_max(role, environments.get(role, {})))
        for role, count in replicas.items()
        if role in facts.ROLES
    ]


def _connections_max(role: str, environment: Mapping[str, str]) -> int:
    settings = facts.ROLES[role].settings
    assert issubclass(settings, RoleSettings)
    variables = {name: PREFIX + name.upper() for name in settings.model_fields if name.endswith(SIZE)}
    sizes = {name: int(environment[variable]) for name, variable in variables.items() if variable in environment}
    return settings.model_construct(**sizes).database_connections_max  # type: ignore[arg-type]
