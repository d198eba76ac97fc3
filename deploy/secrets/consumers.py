"""The files of secrets that each container needs. Those of a role or job follow from its settings class."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from deploy import facts
from deploy.local.engines import postgres
from deploy.local.roles import IDENTITIES, SERVICES
from deploy.programs import DeployError
from deploy.secrets.store import Secrets
from services.chassis.settings import PREFIX

FILE_PREFIX = PREFIX.lower()
"""Of the file of a setting: its variable in lower case."""

PUBLIC_KEYS = "PAYFLOW_SERVICE_PUBLIC_KEYS"
BROKER_USER = "payflow"
_UNQUOTED = re.compile(r"[A-Za-z0-9._~-]{12,}")
"""Characters that need no quotes in a URL, a shell, and the configuration of any engine."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """Where the engines of a deployment listen: host and port."""

    postgres: str = "postgres:5432"
    rabbitmq: str = "rabbitmq:5672"
    redis: str = "redis:6379"


def setting_fields(name: str) -> frozenset[str]:
    """The settings of a role or migrate job that are files: its secrets, and the public keys of all roles."""
    process = facts.PROCESSES[name]
    variables = process.secrets | (process.required & {PUBLIC_KEYS})
    return frozenset(variable.removeprefix(PREFIX).lower() for variable in variables)


def process_names() -> tuple[str, ...]:
    """The roles, and the migrate jobs. The other jobs of auth run in its container."""
    return (*facts.ROLES, *(name for name, job in facts.JOBS.items() if job.command == "migrate"))


class Consumers:
    """The files of every consumer, for one deployment."""

    def __init__(self, secrets: Secrets, hosts: Hosts) -> None:
        """Take passwords and keys from `secrets`, generating those that are missing."""
        self._secrets = secrets
        self._hosts = hosts

    def files(self) -> dict[str, dict[str, str]]:
        """The text of each file, by consumer and name.

        Raises:
            DeployError: a value that the operator gave cannot be used.
        """
        services = {name: self._settings_files(name) for name in process_names()}
        seed = {"demo-seed": {f"{FILE_PREFIX}auth_database_url": self._database_url("auth")}}
        return services | seed | self._engines() | self._monitoring() | self._after_restore()

    def _settings_files(self, name: str) -> dict[str, str]:
        values = ((field, self._setting(field, name)) for field in sorted(setting_fields(name)))
        return {f"{FILE_PREFIX}{field}": value for field, value in values if value is not None}

    def _setting(self, field: str, name: str) -> str | None:
        if field.endswith("_database_url"):
            return self._database_url(field.removesuffix("_database_url"))
        values: dict[str, Callable[[], str | None]] = {
            "service_key": lambda: self._private_key(name),
            "service_public_keys": self._public_keys,
            "auth_secret": lambda: self._secrets.password("auth_secret"),
            "canary_secret": lambda: self._secrets.password("canary_secret"),
            "rabbitmq_url": lambda: f"amqp://{BROKER_USER}:{self._password('rabbitmq')}@{self._hosts.rabbitmq}/",
            "redis_url": lambda: f"redis://:{self._password('redis')}@{self._hosts.redis}/0",
            # Only the operator knows the mail server: without this line in secrets.json there are no e-mails.
            "smtp_url": lambda: self._secrets.find("smtp_url"),
        }
        return values[field]()

    def _database_url(self, login: str) -> str:
        """The URL for `wallet`, `wallet_owner`, `wallet_proof`...: the first word is the database."""
        role, database = f"payflow_{login}", login.partition("_")[0]
        return f"postgresql://{role}:{self._role_password(role)}@{self._hosts.postgres}/{database}"

    def _engines(self) -> dict[str, dict[str, str]]:
        passwords = {f"{role}_password": self._role_password(role) for role in postgres.ROLES}
        return {
            "postgres": {"postgres_password": self._role_password(postgres.SUPERUSER)},
            "provision": {"pg_service.conf": self._superuser_login()} | passwords,
            "rabbitmq": {
                "20-payflow.conf": f"default_user = {BROKER_USER}\ndefault_pass = {self._password('rabbitmq')}\n"
            },
            "backup": {"payflow_backup_password": self._role_password("payflow_backup")},
            "redis": {"redis.conf": f"requirepass {self._password('redis')}\n"},
        }

    def _after_restore(self) -> dict[str, dict[str, str]]:
        """For `python -m deploy.backup`: the owners' databases, and the engines that a reset empties."""
        broker = self._hosts.rabbitmq.partition(":")[0]
        owners = {
            f"{FILE_PREFIX}{service}_owner_database_url": self._database_url(f"{service}_owner") for service in SERVICES
        }
        engines = {
            f"{FILE_PREFIX}redis_url": f"redis://:{self._password('redis')}@{self._hosts.redis}/0",
            f"{FILE_PREFIX}rabbitmq_management_url": f"http://{BROKER_USER}:{self._password('rabbitmq')}@{broker}:15672",
        }
        return {"compare": owners, "reset": owners | engines}

    def _monitoring(self) -> dict[str, dict[str, str]]:
        scaler = self._role_password("payflow_scaler")
        return {
            "postgres-exporter": {"postgres_password": self._role_password("payflow_monitor")},
            "redis-exporter": {
                "redis_passwords.json": json.dumps({f"redis://{self._hosts.redis}": self._password("redis")})
            },
            "grafana": {"grafana_admin_password": self._password("grafana")},
            "scaler": {
                "postgres_password": scaler,
                "postgres_url": f"postgresql://payflow_scaler:{scaler}@{self._hosts.postgres}/transaction",
            },
        }

    def _superuser_login(self) -> str:
        """A connection service file: libpq reads it whatever its mode, unlike a password file."""
        host, _, port = self._hosts.postgres.partition(":")
        login = {
            "host": host,
            "port": port,
            "user": postgres.SUPERUSER,
            "password": self._role_password(postgres.SUPERUSER),
            "dbname": "postgres",
        }
        return "[provision]\n" + "".join(f"{name}={value}\n" for name, value in login.items())

    def _private_key(self, identity: str) -> str:
        self._secrets.public_key(identity)  # refuses a malformed key here, not at the start of a role
        return self._secrets.private_key(identity)

    def _public_keys(self) -> str:
        return json.dumps({identity: self._secrets.public_key(identity) for identity in IDENTITIES})

    def _role_password(self, role: str) -> str:
        return self._password(f"postgres:{role}")

    def _password(self, name: str) -> str:
        password = self._secrets.password(name)
        if not _UNQUOTED.fullmatch(password):
            raise DeployError(
                f"the password {name} in {self._secrets.path} must be at least 12 of the characters A-Z a-z 0-9 . _ ~ -"
            )
        return password
