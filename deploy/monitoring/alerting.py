"""The configuration of Alertmanager: the one in `monitoring/alertmanager/`, with the receivers that the settings name.

The settings are files in one folder, named after what they hold. A file that is not known is refused, because an alert that was
meant for a misspelt address would be lost without a trace.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from deploy.local.home import REPOSITORY
from deploy.programs import DeployError

SOURCE = REPOSITORY / "monitoring" / "alertmanager"
CONFIGURATION = "alertmanager.yml"
LINKS = {"runbooks": "templates/runbooks.tmpl", "dashboards": "templates/dashboards.tmpl"}
"""What precedes the path of a runbook, and the name of a dashboard, in a notification."""

KEYS = ("smtp_password", "pager_key")
"""Settings that Alertmanager reads from files of their own: its pages show the configuration."""
MOUNTED = "/etc/alertmanager"
"""Where the container has the folder."""

SEVERITIES = ("critical", "warning")
TEAMS = ("payments", "platform")


def _check_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is not an http:// or https:// address")
    return text


def _check_host(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("is not host:port")
    return text


def _check_email(text: str) -> str:
    if not all(address.count("@") == 1 for address in text.split(",")):
        raise ValueError("is not an e-mail address")
    return text


class Receivers(BaseModel):
    """Where alerts go, beside the log of `alert-log`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    email_to: Annotated[str, AfterValidator(_check_email)] | None = None
    """One or several addresses, separated by commas: they get the alerts of each team without an address of its own."""
    email_to_payments: Annotated[str, AfterValidator(_check_email)] | None = None
    email_to_platform: Annotated[str, AfterValidator(_check_email)] | None = None
    email_from: Annotated[str, AfterValidator(_check_email)] | None = None
    smtp_host: Annotated[str, AfterValidator(_check_host)] | None = None
    """`host:port` of the mail server. It must offer TLS."""
    smtp_username: str | None = None
    smtp_password: str | None = None
    webhook_url: Annotated[str, AfterValidator(_check_address)] | None = None
    """Critical alerts are sent there, in the format of Alertmanager's webhooks."""
    runbooks_url: Annotated[str, AfterValidator(_check_address)] | None = None
    """The address at which this repository is read; without it notifications name the path of a runbook."""
    dashboards_url: Annotated[str, AfterValidator(_check_address)] | None = None
    """The address of Grafana; without it notifications have only the name of a dashboard."""
    pager_key: str | None = None
    """The integration key of a PagerDuty service (Events API v2): critical alerts call the person on duty."""

    def email_of(self, team: str) -> str | None:
        """The addresses of a team."""
        own: str | None = getattr(self, f"email_to_{team}")
        return own or self.email_to

    @model_validator(mode="after")
    def _check_mail(self) -> Receivers:
        if any(map(self.email_of, TEAMS)) and not (self.email_from and self.smtp_host):
            raise ValueError("email_to needs email_from and smtp_host")
        if (self.smtp_username is None) != (self.smtp_password is None):
            raise ValueError("smtp_username and smtp_password belong together")
        return self


def read(folder: Path) -> Receivers:
    """The settings in a folder; none if it does not exist.

    Raises:
        DeployError: a file is not known, or its content is wrong.
    """
    texts = {path.name: path.read_text().strip() for path in sorted(folder.glob("*")) if path.is_file()}
    try:
        return Receivers.model_validate({name: text for name, text in texts.items() if text or name not in _known()})
    except ValidationError as error:
        first = error.errors()[0]
        what = "is not known" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        raise DeployError(f"{folder}: {' '.join([*map(str, first['loc']), what])}") from None


def configuration(receivers: Receivers) -> dict[str, Any]:
    """The configuration with these receivers."""
    made: dict[str, Any] = yaml.safe_load((SOURCE / CONFIGURATION).read_text())
    by_name = {receiver["name"]: receiver for receiver in made["receivers"]}
    if any(map(receivers.email_of, TEAMS)):
        made["global"] |= _mail_server(receivers)
    for team in TEAMS:
        if address := receivers.email_of(team):
            for severity in SEVERITIES:
                by_name[f"{severity}-{team}"]["email_configs"] = [_email(address)]
        critical = by_name[f"critical-{team}"]
        if receivers.webhook_url:
            critical["webhook_configs"].append({"url": receivers.webhook_url, "send_resolved": True})
        if receivers.pager_key:
            critical["pagerduty_configs"] = [_pager()]
    return made


def texts(receivers: Receivers) -> dict[str, str]:
    """Every file that Alertmanager reads, by its path below the folder that it is mounted from."""
    made = {f"templates/{path.name}": path.read_text() for path in (SOURCE / "templates").iterdir()}
    if receivers.runbooks_url:
        made[LINKS["runbooks"]] = _link("runbooks", f"{receivers.runbooks_url.rstrip('/')}/")
    if receivers.dashboards_url:
        made[LINKS["dashboards"]] = _link("dashboards", f"{receivers.dashboards_url.rstrip('/')}/d/")
    made |= {name: key for name in KEYS if (key := getattr(receivers, name))}
    text = yaml.safe_dump(configuration(receivers), sort_keys=False, allow_unicode=True)
    return made | {CONFIGURATION: f"# Written by python -m deploy.monitoring prepare.\n{text}"}


def _known() -> set[str]:
    return set(Receivers.model_fields)


def _mail_server(receivers: Receivers) -> dict[str, Any]:
    server: dict[str, Any] = {"smtp_smarthost": receivers.smtp_host, "smtp_from": receivers.email_from}
    if receivers.smtp_username:
        server |= {"smtp_auth_username": receivers.smtp_username, "smtp_auth_password_file": f"{MOUNTED}/smtp_password"}
    return server


def _link(name: str, prefix: str) -> str:
    return f'{{{{ define "payflow.{name}" }}}}{prefix}{{{{ end }}}}\n'


def _pager() -> dict[str, Any]:
    return {
        "routing_key_file": f"{MOUNTED}/pager_key",
        "send_resolved": True,
        "description": '{{ template "payflow.subject" . }}',
        "details": {"text": '{{ template "payflow.text" . }}'},
    }


def _email(to: str) -> dict[str, Any]:
    return {
        "to": to,
        "send_resolved": True,
        "headers": {"Subject": '{{ template "payflow.subject" . }}'},
        "text": '{{ template "payflow.text" . }}',
        "html": "",
    }
