"""Settings from `PAYFLOW_...` variables and files, read once and frozen; all faults are reported at once, in one line.

Each variable may also be a file of the same name, in either case, in the folder `PAYFLOW_SECRETS_DIR`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from services.chassis import crash_points
from services.chassis.service_tokens import Identity

PREFIX = "PAYFLOW_"
DRIVER_VARIABLES = (
    *("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE"),
    *("PGSSLMODE", "PGSSLNEGOTIATION", "PGSSLCERT", "PGSSLKEY", "PGSSLROOTCERT", "PGSSLCRL"),
    *("PGSSLMINPROTOCOLVERSION", "PGSSLMAXPROTOCOLVERSION", "PGTARGETSESSIONATTRS", "PGKRBSRVNAME", "PGGSSLIB"),
)
"""Variables that the PostgreSQL driver reads for what the URL of a database does not state. They are refused."""
SECRET_LENGTH_MIN = 32
PASSWORD_LENGTH_MIN = 12
_KNOWN_DEFAULTS = re.compile(
    r"^(change.?me|secret|password|guest|postgres|payflow|default|example|test)+", re.IGNORECASE
)


class BadConfiguration(Exception):  # noqa: N818 - reads as what it is
    """The environment is not a valid configuration; the message names every faulty variable."""


def _check_secret(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if len(text) < SECRET_LENGTH_MIN:
        raise ValueError(f"must have at least {SECRET_LENGTH_MIN} characters")
    if _KNOWN_DEFAULTS.match(text) or len(set(text)) < 8:  # noqa: PLR2004 - "aaaa..." is no secret
        raise ValueError("is a well-known default, not a secret")
    return secret


def _check_url(url: SecretStr) -> SecretStr:
    _check_address(url.get_secret_value())
    return url


def _check_broker_urls(urls: SecretStr) -> SecretStr:
    for address in split_addresses(urls.get_secret_value()):
        parts = urlsplit(address)
        # Without this check, text after a comma that is no AMQP URL would be taken for a part of the address before it.
        if parts.scheme not in ("amqp", "amqps") or "," in f"{parts.hostname}{parts.path}{parts.query}":
            raise ValueError("is not a list of amqp:// or amqps:// URLs")
        _check_address(address)
    return urls


def _check_address(address: str) -> None:
    parts = urlsplit(address)
    if not parts.scheme or not parts.hostname:
        raise ValueError("is not a URL")
    password = unquote(parts.password or "")
    if len(password) < PASSWORD_LENGTH_MIN:
        raise ValueError(f"needs a password of at least {PASSWORD_LENGTH_MIN} characters")
    if _KNOWN_DEFAULTS.match(password):
        raise ValueError("has a well-known default password")


def split_addresses(urls: str) -> list[str]:
    """The addresses of a comma-separated list. A comma inside a password separates nothing."""
    return re.split(r"\s*,\s*(?=amqps?://)", urls.strip())


def _check_seed(seed: SecretStr) -> SecretStr:
    try:
        raw = base64.b64decode(seed.get_secret_value(), validate=True)
    except ValueError as error:
        raise ValueError("is not base64") from error
    if len(raw) != 32 or len(set(raw)) < 8:  # noqa: PLR2004 - an Ed25519 seed
        raise ValueError("is not the 32-byte seed of an Ed25519 key")
    return seed


def _check_crash_point(text: str, others: ValidationInfo) -> str:
    if text and not others.data.get("demo"):
        raise ValueError("ends the process, for drills only: it needs PAYFLOW_DEMO=1")
    if text:
        crash_points.parse(text)
    return text


def _check_endpoint(text: str) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise ValueError("is not an http:// or https:// address")
    return text


Secret = Annotated[SecretStr, AfterValidator(_check_secret)]
"""A secret of this deployment: at least 32 characters, not a well-known default."""

EngineUrl = Annotated[SecretStr, AfterValidator(_check_url)]
"""The URL of an engine with its credentials; hidden when printed."""

BrokerUrls = Annotated[SecretStr, AfterValidator(_check_broker_urls)]
"""The URLs of the nodes of a RabbitMQ cluster, separated by commas; hidden when printed."""

KeySeed = Annotated[SecretStr, AfterValidator(_check_seed)]
"""The private half of an identity: base64 of 32 bytes."""

Endpoint = Annotated[str, AfterValidator(_check_endpoint)]
"""The address of an HTTP server, with a path; empty: there is none. With a wrong one everything sent to it would be lost."""

CrashPoint = Annotated[str, AfterValidator(_check_crash_point)]
"""Where the process crashes, for drills; empty: nowhere. Refused without `demo`, which must be an earlier field."""

Seconds = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(ge=1, le=65535)]


class ProcessSettings(BaseSettings):
    """What every role and job reads."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", use_attribute_docstrings=True)

    secrets_dir: str = ""
    """A folder with settings as files; empty: there is none."""


class RoleSettings(ProcessSettings):
    """What every role reads."""

    instance: str = ""
    """The name of this process in logs, heartbeats and connections, one for each process. Empty: `<service>-<role>`."""

    host: str = "0.0.0.0"  # noqa: S104 - inside a container, restricted by network policy
    """The address it listens on."""

    metrics_port: Port = 9100
    """The port of `/livez`, `/readyz` and `/metrics`."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """`debug`, `info`, `warning` or `error`."""

    log_format: Literal["json", "console"] = "json"
    """`json`, or `console` for a terminal."""

    demo: bool = False
    """`1` on a private machine: demo users, [simulated failures](../simulated-failures.md), and what tests need."""

    crash_at: CrashPoint = ""
    """For tests, with `PAYFLOW_DEMO=1` only: where the process kills itself ([crash points](../crash-points.md))."""

    revision: str = ""
    """The revision of the source, for `payflow_build_info`."""

    otlp_endpoint: Endpoint = ""
    """An OTLP endpoint over HTTP for spans ([tracing](tracing.md)); needs the extra `otel`. Empty: none are recorded."""

    service_key: KeySeed
    """This role's Ed25519 private seed, 32 bytes in base64."""

    service_public_keys: dict[str, str]
    """JSON: identity → public key, 32 bytes in base64. The role's own is among them."""

    @property
    def database_connections_max(self) -> int:
        """How many connections to PostgreSQL one process of this role opens at most."""
        return 0

    @property
    def identity_keys(self) -> Identity:
        """This role's key and the public keys of its callers."""
        return Identity.from_base64(self.service_key.get_secret_value(), self.service_public_keys)


Settings = TypeVar("Settings", bound=ProcessSettings)


def load(settings: type[Settings]) -> Settings:
    """Read the environment, and the files of the folder that `PAYFLOW_SECRETS_DIR` names, if it names one.

    Raises:
        BadConfiguration: with one line that names every missing or malformed variable, never its value.
    """
    variables = EnvSettingsSource(BaseSettings).env_vars
    folder = variables.get(f"{PREFIX}secrets_dir".lower()) or None
    faults = _driver_faults()
    file_faults = _file_faults(settings, Path(folder), variables) if folder else []
    if file_faults:
        raise BadConfiguration("; ".join(faults + file_faults))
    # mypy knows the fields of the class, not the options that every settings class takes.
    options: dict[str, Any] = {"_secrets_dir": folder}
    try:
        read = settings(**options)
    except ValidationError as error:
        faults += [_fault(fault["loc"], fault["msg"]) for fault in error.errors()]
    except ValueError as error:  # pydantic-settings: a JSON variable that is not JSON
        faults.append(str(error))
    if faults:
        raise BadConfiguration("; ".join(faults))
    return read


def list_unread_files(settings: ProcessSettings) -> list[str]:
    """The `payflow_` files that the settings do not read: of a later release, or misspelt."""
    if not settings.secrets_dir:
        return []
    known = {_variable(name) for name in type(settings).model_fields}
    names = (path.name for path in Path(settings.secrets_dir).iterdir())
    return sorted(name for name in names if name.upper().startswith(PREFIX) and name.upper() not in known)


def _file_faults(settings: type[ProcessSettings], folder: Path, variables: Mapping[str, str | None]) -> list[str]:
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        return [f"{PREFIX}SECRETS_DIR: {folder} cannot be read ({error.strerror})"]
    faults = []
    for variable in map(_variable, settings.model_fields):
        found = [path for path in files if path.name.upper() == variable]
        given = [str(path) for path in found] + ["the environment"] * (variable.lower() in variables)
        if found and len(given) > 1:
            faults.append(f"{variable}: given more than once, by {' and by '.join(given)}")
        faults += [f"{variable}: {path} cannot be read ({why})" for path in found if (why := _why_unreadable(path))]
    return faults


def _why_unreadable(path: Path) -> str | None:
    try:
        path.read_text()
    except OSError as error:
        return error.strerror
    except UnicodeDecodeError:
        return "not UTF-8"
    return None


def _driver_faults() -> list[str]:
    environment = EnvSettingsSource(BaseSettings, case_sensitive=True).env_vars
    found = [name for name in DRIVER_VARIABLES if name in environment]
    if not found:
        return []
    return [f"{', '.join(found)}: not supported; unset them and put the settings into the database's URL"]


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _fault(location: tuple[int | str, ...], message: str) -> str:
    variable = _variable(str(location[0])) if location else f"the {PREFIX} variables"
    return f"{variable}: {'missing' if message == 'Field required' else message.removeprefix('Value error, ')}"
