"""The roles of the stack as data, and the environment variables of each process."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.local import environment
from deploy.local.engine_sets import Engines
from deploy.local.errors import LocalError
from deploy.local.home import REPOSITORY, Home
from deploy.local.ports import LOOPBACK, Ports
from deploy.local.process import Process
from deploy.secrets.store import Secrets

GATEWAY_PORT = 8000
PORT_MAX = 65535
SERVICES = ("auth", "wallet", "transaction", "notification")
OURS = ("_URL", "_PORT", "_SECRET", "_SECRETS_DIR", "_SERVICE_KEY", "_PUBLIC_KEYS", "_HOST", "_INSTANCE", "_DEMO")
"""How the variables end that only the stack sets."""

WITH_BROKER = frozenset({"transaction", "notification"})


@dataclass(frozen=True, slots=True)
class Role:
    """One process of a service."""

    name: str
    """NAME in stack.json."""
    service: str
    role: str
    identity: str
    """The identity whose key it signs with; processes of the same role share one."""


ROLES = (
    Role("auth", "auth", "api", "auth"),
    Role("wallet", "wallet", "api", "wallet"),
    Role("wallet-seal", "wallet", "seal", "wallet-seal"),
    Role("transaction", "transaction", "api", "transaction"),
    Role("transaction-relay", "transaction", "relay", "transaction-relay"),
    Role("transaction-worker-1", "transaction", "worker", "transaction-worker"),
    Role("transaction-worker-2", "transaction", "worker", "transaction-worker"),
    Role("transaction-reversal", "transaction", "reversal", "transaction-reversal"),
    Role("notification", "notification", "api", "notification"),
    Role("notification-worker", "notification", "worker", "notification-worker"),
    Role("notification-deliver", "notification", "deliver", "notification-deliver"),
    Role("gateway", "gateway", "api", "gateway"),
)
CANARY = Role("canary", "canary", "probe", "canary")
"""Runs beside the others, unless PAYFLOW_CANARY is `off`."""

IDENTITIES = tuple(dict.fromkeys(role.identity for role in (*ROLES, CANARY)))


class Wiring:
    """Ports, addresses, passwords and keys of one stack; each process gets only those that it needs."""

    def __init__(
        self, home: Home, *, engines: Engines, ports: Ports, secrets: Secrets, caller: Mapping[str, str]
    ) -> None:
        """Wire a stack below `home`; `caller` is the environment it is started from."""
        self._home = home
        self._engines = engines
        self._ports = ports
        self._secrets = secrets
        self._caller = caller
        self.gateway_port = gateway_port(caller)
        self.roles = ROLES if caller.get("PAYFLOW_CANARY") == "off" else (*ROLES, CANARY)

    @property
    def gateway_url(self) -> str:
        """The public address."""
        return f"http://{LOOPBACK}:{self.gateway_port}"

    def service_url(self, service: str) -> str:
        """The address of a service's API."""
        return f"http://{LOOPBACK}:{self._ports.get(service)}"

    def metrics_url(self, name: str) -> str:
        """The address of a process's health and metrics."""
        return f"http://{LOOPBACK}:{self._ports.get(f'{name}_metrics')}"

    def take_ports(self, roles: tuple[Role, ...]) -> None:
        """Keep the remembered ports, except those that another program uses by now."""
        for name in (*SERVICES, *(f"{role.name}_metrics" for role in roles)):
            self._ports.take(name)

    def process(self, role: Role) -> Process:
        """The process of a role, ready to be started."""
        return self._python(role.name, ["-m", f"services.{role.service}", role.role], self.environment(role))

    def migration(self, service: str) -> Process:
        """The process that migrates a service's database."""
        owner = {
            _variable(service, "OWNER_DATABASE_URL"): self._engines.postgres.dsn(service, f"payflow_{service}_owner")
        }
        variables = self._inherited() | self._database(service) | owner
        return self._python(f"{service}-migrate", ["-m", f"services.{service}", "migrate"], variables)

    def grant(self, email: str) -> Process:
        """The process that makes a user an operator."""
        role = next(role for role in ROLES if role.name == "auth")
        command = ["-m", "services.auth", "grant", email, "operator"]
        return self._python("auth-grant", command, self.environment(role))

    def environment(self, role: Role) -> dict[str, str]:
        """The environment of a role."""
        return {
            **self._inherited(),
            **self._addresses(),
            **(self._database(role.service) if role.role != "seal" else self._seal_database()),
            **self._engine_urls(role.service),
            **self._identity(role),
            **self._mail(role),
            **self._canary(role),
            "PAYFLOW_DEMO": "1",
            "PAYFLOW_HOST": LOOPBACK,
            "PAYFLOW_INSTANCE": role.name,
            "PAYFLOW_METRICS_PORT": str(self._ports.get(f"{role.name}_metrics")),
        }

    def _python(self, name: str, arguments: list[str], variables: dict[str, str]) -> Process:
        return Process(
            name,
            [sys.executable, *arguments],
            environment=variables,
            directory=REPOSITORY,
            log=self._home.log(name),
        )

    def _inherited(self) -> dict[str, str]:
        """The caller's variables that are passed on, without those of the stack: no role sees the password of another."""
        return {name: value for name, value in environment.passed_on(self._caller).items() if not _is_ours(name)}

    def _addresses(self) -> dict[str, str]:
        urls = {_variable(service, "URL"): self.service_url(service) for service in SERVICES}
        ports = {_variable(service, "PORT"): str(self._ports.get(service)) for service in SERVICES}
        return urls | ports | {"PAYFLOW_GATEWAY_PORT": str(self.gateway_port)}

    def _database(self, service: str) -> dict[str, str]:
        if service not in SERVICES:
            return {}
        urls = {_variable(service, "DATABASE_URL"): self._engines.postgres.dsn(service, f"payflow_{service}")}
        if service == "wallet":
            replica = self._engines.postgres.replica_dsn("wallet", "payflow_wallet")
            if replica is not None:
                urls["PAYFLOW_WALLET_READ_DATABASE_URL"] = replica
            urls["PAYFLOW_WALLET_PROOF_DATABASE_URL"] = self._engines.postgres.dsn("wallet", "payflow_wallet_proof")
        return urls

    def _seal_database(self) -> dict[str, str]:
        """The sealer has its own login, which can read and seal but not post: a seal by the posting role would prove nothing."""
        return {"PAYFLOW_WALLET_SEAL_DATABASE_URL": self._engines.postgres.dsn("wallet", "payflow_wallet_seal")}

    def _engine_urls(self, service: str) -> dict[str, str]:
        urls = {"PAYFLOW_REDIS_URL": self._engines.redis.url}
        if service in WITH_BROKER:
            urls["PAYFLOW_RABBITMQ_URL"] = self._engines.rabbitmq.url
        return urls

    def _mail(self, role: Role) -> dict[str, str]:
        """The address for links in e-mails and, unless the caller has a mail server, a folder for e-mails.

        Only the role that sends them gets the folder: load tests make too many notifications to write them there.
        """
        variables = {"PAYFLOW_PUBLIC_URL": self._caller.get("PAYFLOW_PUBLIC_URL") or self.gateway_url}
        if role.role == "deliver" and not self._caller.get("PAYFLOW_SMTP_URL"):
            variables["PAYFLOW_SMTP_URL"] = self._home.mail.absolute().as_uri()
        return variables

    def _canary(self, role: Role) -> dict[str, str]:
        """The address for the canary, and its secret, with which auth recognizes the canary's accounts."""
        if role != CANARY and role.service != "auth":
            return {}
        address = {"PAYFLOW_GATEWAY_URL": self.gateway_url} if role == CANARY else {}
        return address | {"PAYFLOW_CANARY_SECRET": self._secrets.password("canary_secret")}

    def _identity(self, role: Role) -> dict[str, str]:
        public_keys = {identity: self._secrets.public_key(identity) for identity in IDENTITIES}
        secrets = {
            "PAYFLOW_SERVICE_KEY": self._secrets.private_key(role.identity),
            "PAYFLOW_SERVICE_PUBLIC_KEYS": json.dumps(public_keys),
        }
        if role.service == "auth":
            secrets["PAYFLOW_AUTH_SECRET"] = self._secrets.password("auth_secret")
        return secrets


def gateway_port(caller: Mapping[str, str]) -> int:
    """The gateway's port: PAYFLOW_GATEWAY_PORT, else 8000.

    Raises:
        LocalError: it is not a port.
    """
    text = caller.get("PAYFLOW_GATEWAY_PORT", str(GATEWAY_PORT))
    if not text.isdecimal() or not 1 <= int(text) <= PORT_MAX:
        raise LocalError(f"PAYFLOW_GATEWAY_PORT is {text!r}: it must be a port from 1 to {PORT_MAX}")
    return int(text)


def _variable(service: str, suffix: str) -> str:
    return f"PAYFLOW_{service.upper()}_{suffix}"


def _is_ours(name: str) -> bool:
    """Whether only the stack sets this variable; variables for e-mail and behaviour are the caller's."""
    if not name.startswith("PAYFLOW_") or name.startswith("PAYFLOW_SMTP_"):
        return False
    return name.endswith(
        ("_SECRETS_DIR", "_URL", "_PORT", "_SECRET", "_SERVICE_KEY", "_PUBLIC_KEYS", "_HOST", "_INSTANCE", "_DEMO")
    )
