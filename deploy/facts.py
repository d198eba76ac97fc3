"""What a deployment must provide for each process of PayFlow, derived from the code of the services.

Manifests, the doctor and the settings reference are compared with these facts. The processes are those of the local stack;
everything else is read from their settings classes.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from deploy.local import roles
from services.chassis.consumer import ATTEMPTS_MAX
from services.chassis.roles import STOP_SECONDS_MAX
from services.chassis.settings import PREFIX, ProcessSettings, RoleSettings
from services.contracts.topology import DELAY_SECONDS
from services.transaction.settings import ApiSettings, ReversalSettings

SERVICES = ("gateway", *roles.SERVICES, "canary")

ENGINES = {"database_url": "postgres", "rabbitmq_url": "rabbitmq", "redis_url": "redis", "smtp_url": "smtp"}
"""The engine that a setting with this ending is the address of."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One setting."""

    name: str
    """As an environment variable. In lower case it is the name of its file in the folder `PAYFLOW_SECRETS_DIR`."""
    default: Any
    """None: there is none, or it is required."""
    is_required: bool
    is_secret: bool
    meaning: str


@dataclass(frozen=True, slots=True)
class Process:
    """A role or a job."""

    name: str
    """As in manifests: `wallet-seal`."""
    service: str
    command: str
    """The second argument of `python -m services.SERVICE COMMAND`."""
    is_role: bool
    settings: type[ProcessSettings]

    @property
    def arguments(self) -> list[str]:
        """The arguments of the image that run it."""
        return [f"services.{self.service}", self.command]

    @property
    def variables(self) -> dict[str, Variable]:
        """Everything it reads, by the name of the variable."""
        found = (variable_of(name, field) for name, field in self.settings.model_fields.items())
        return {variable.name: variable for variable in found}

    @property
    def secrets(self) -> frozenset[str]:
        """The variables that must not be in an environment or a manifest."""
        return frozenset(name for name, variable in self.variables.items() if variable.is_secret)

    @property
    def required(self) -> frozenset[str]:
        """The variables without which it does not start."""
        return frozenset(name for name, variable in self.variables.items() if variable.is_required)

    @property
    def port(self) -> int | None:
        """The port of its API, where it has one."""
        default = self._default(f"{self.service}_port")
        return default if isinstance(default, int) else None

    @property
    def metrics_port(self) -> int | None:
        """The port of `/livez`, `/readyz` and `/metrics`; a job has none."""
        default = self._default("metrics_port")
        return default if isinstance(default, int) else None

    @property
    def upstreams(self) -> tuple[str, ...]:
        """The services whose API it calls. Their processes have the same names."""
        return tuple(service for service in SERVICES if f"{service}_url" in self.settings.model_fields)

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines it connects to, also those it can do without."""
        names = [name for name, field in self.settings.model_fields.items() if _connects(field)]
        return tuple(
            engine for ending, engine in ENGINES.items() if any(re.search(rf"(^|_){ending}$", name) for name in names)
        )

    @property
    def databases(self) -> tuple[str, ...]:
        """The variables with the URLs of its database, one for each login."""
        return tuple(name for name in self.variables if name.endswith("_DATABASE_URL"))

    @property
    def database_connections_max(self) -> int:
        """Connections to PostgreSQL that one replica opens at most, with default settings. A job opens one."""
        if issubclass(self.settings, RoleSettings):
            return self.settings.model_construct().database_connections_max
        return len(self.databases)

    def _default(self, name: str) -> object:
        field = self.settings.model_fields.get(name)
        return None if field is None else field.default


@dataclass(frozen=True, slots=True)
class Periods:
    """Periods in seconds that a deployment must respect."""

    stop_max: float
    """From the stop signal to the end of the process."""
    pre_stop: float
    """How long a process still serves before the stop signal, until no new request is routed to it."""
    reversal_after: float
    """The age at which a PENDING transfer expires. A failover must be shorter."""
    reversal_every: float
    """Between two passes of the reversal."""
    reversal_gap_max: float
    """The longest permitted time between two passes."""
    message_lifetime: float
    """How long a message that always fails is retried before it becomes a dead letter. It is longer than `reversal_after`."""


def _list_processes() -> Iterator[Process]:
    """Every role, once whatever its number of processes in the local stack, then every job."""
    commands = {service: importlib.import_module(f"services.{service}.__main__") for service in SERVICES}
    seen = {role.identity: (role.service, role.role) for role in (*roles.ROLES, roles.CANARY)}
    for name, (service, command) in seen.items():
        yield Process(name, service, command, is_role=True, settings=commands[service].ROLES[command].settings)
    for service, module in commands.items():
        for command, job in module.JOBS.items():
            yield Process(f"{service}-{command}", service, command, is_role=False, settings=job.settings)


def variable_of(name: str, field: FieldInfo) -> Variable:
    """The variable of a field of a settings class."""
    is_required = field.default is PydanticUndefined
    return Variable(
        name=PREFIX + name.upper(),
        default=None if is_required else field.default,
        is_required=is_required,
        is_secret=_holds_secret(field.annotation),
        meaning=field.description or "",
    )


def _connects(field: FieldInfo) -> bool:
    extra = field.json_schema_extra
    return not isinstance(extra, dict) or extra.get("connects") is not False


def _holds_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_holds_secret(part) for part in get_args(annotation))


def _message_lifetime() -> float:
    return sum(DELAY_SECONDS[min(attempt, len(DELAY_SECONDS)) - 1] for attempt in range(1, ATTEMPTS_MAX))


PROCESSES = {process.name: process for process in _list_processes()}
ROLES = {name: process for name, process in PROCESSES.items() if process.is_role}
JOBS = {name: process for name, process in PROCESSES.items() if not process.is_role}

PERIODS = Periods(
    stop_max=STOP_SECONDS_MAX,
    pre_stop=5.0,
    reversal_after=ApiSettings.model_fields["reversal_after_seconds"].default,
    reversal_every=ReversalSettings.model_fields["reversal_every_seconds"].default,
    reversal_gap_max=10.0,
    message_lifetime=_message_lifetime(),
)
