"""Settings of the notification service's roles."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo

from services.chassis.settings import BrokerUrls, EngineUrl, Port, ProcessSettings, RoleSettings, Seconds


def _check_smtp_url(url: SecretStr, others: ValidationInfo) -> SecretStr:
    parts = urlsplit(url.get_secret_value())
    if parts.scheme == "file":
        return _check_folder_url(url, others)
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise ValueError("is not smtp://host:port or smtps://host:port")
    parts.port  # noqa: B018 - raises for what is no port
    return url


def _check_folder_url(url: SecretStr, others: ValidationInfo) -> SecretStr:
    parts = urlsplit(url.get_secret_value())
    if not others.data.get("demo"):
        raise ValueError("writes e-mails to a folder, which is for local use: it requires PAYFLOW_DEMO=1")
    if parts.netloc or not parts.path.startswith("/") or parts.query or parts.fragment:
        raise ValueError("is not file:///folder")
    return url


def _empty_is_none(text: object) -> object:
    return text or None


SmtpUrl = Annotated[SecretStr, AfterValidator(_check_smtp_url)]
"""The mail server, with credentials if it requires any; `smtps` uses TLS from the first byte. In demo mode also `file:///folder`,
to which e-mails are written."""

OptionalSmtpUrl = Annotated[SmtpUrl | None, BeforeValidator(_empty_is_none)]
"""Empty or missing: no e-mails."""


ServiceUrl = Annotated[str, Field(pattern=r"^https?://")]
"""Scheme, host and port of another service."""

PublicUrl = Annotated[Annotated[str, Field(pattern=r"^https?://[^\s?#@]+$")] | None, BeforeValidator(_empty_is_none)]
"""The public address of the web front end: scheme, host, and a port and a path if it has them."""

WORKER_POOL_SIZE_MAX = 5
DELIVER_POOL_SIZE_MAX = 2


class ApiSettings(RoleSettings):
    """The api role."""

    notification_database_url: EngineUrl
    """The database, as `payflow_notification`."""

    notification_port: Port = 8000
    """The port of the API."""

    rabbitmq_url: BrokerUrls
    """The broker; several nodes of a cluster, separated by commas."""

    notification_pool_size_max: Annotated[int, Field(ge=1, le=100)] = 8
    """Connections for urgent work (1 to 100)."""

    notification_read_pool_size_max: Annotated[int, Field(ge=1, le=100)] = 4
    """Connections for reads of users and operators (1 to 100)."""

    @property
    def database_connections_max(self) -> int:
        """The pools of the role."""
        return self.notification_pool_size_max + self.notification_read_pool_size_max


class WorkerSettings(RoleSettings):
    """The worker role."""

    notification_database_url: EngineUrl
    """The database, as `payflow_notification`."""

    rabbitmq_url: BrokerUrls
    """The broker; several nodes of a cluster, separated by commas."""

    transaction_url: ServiceUrl
    """The transaction service's API."""

    redis_url: EngineUrl | None = None
    """Wakes the gateways when there are live events; without it they poll."""

    catch_up_seconds: Seconds = 5.0
    """The pause between two passes of the catch-up. A lost event arrives up to 5 s later."""

    notification_retention_days: Annotated[int, Field(ge=7, le=3650)] = 400
    """How long notifications are kept, which are also the events of their transfers (7 to 3650 days)."""

    event_retention_days: Annotated[int, Field(ge=7, le=3650)] = 30
    """How long other live events are kept (7 to 3650 days). A stream that resumes before one that is gone gets `reset`."""

    smtp_url: Annotated[OptionalSmtpUrl, Field(json_schema_extra={"connects": False})] = None
    """Whether transfer notifications are queued as e-mails: only that it is set counts, this role sends nothing."""

    @property
    def database_connections_max(self) -> int:
        """The pools of the role."""
        return WORKER_POOL_SIZE_MAX


class DeliverSettings(RoleSettings):
    """The deliver role."""

    notification_database_url: EngineUrl
    """The database, as `payflow_notification`."""

    auth_url: ServiceUrl
    """Auth's API."""

    smtp_url: OptionalSmtpUrl = None
    """The mail server. None: e-mails wait."""

    public_url: PublicUrl = None
    """The web front end that links in e-mails lead to; without it e-mails contain only tokens."""

    smtp_sender: Annotated[str, Field(pattern=r"^[^\r\n]*@[^\r\n]*$")] = "PayFlow <no-reply@localhost>"
    """The sender of e-mails."""

    @property
    def database_connections_max(self) -> int:
        """The pools of the role."""
        return DELIVER_POOL_SIZE_MAX


class MigrateSettings(ProcessSettings):
    """The migrate job."""

    notification_owner_database_url: EngineUrl
    """The database, as its owner."""
