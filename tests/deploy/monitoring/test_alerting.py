"""Where alerts go: routes, inhibition, and the receivers that the settings add."""

from __future__ import annotations

import json
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.monitoring import alert_log, alerting
from deploy.monitoring.alerting import CONFIGURATION, SOURCE, Receivers
from deploy.monitoring.prepare import prepare
from deploy.programs import DeployError
from tests.harness import monitoring

WATCHDOG = {"status": "firing", "labels": {"alertname": "Watchdog"}, "annotations": {}, "startsAt": ""}

BASE = monitoring.read(SOURCE / CONFIGURATION)
MAIL = {"email_to": "on-call@example.com", "email_from": "payflow@example.com", "smtp_host": "mail.example.com:587"}
NEVER_INHIBITED = re.compile(
    r"PayflowLedger\w+|Payflow\w+Conflict|PayflowStalePending|PayflowDeadLetters|\w+Down|Host\w+"
)


def settings(folder: Path, **texts: str) -> Path:
    """A target folder with these settings."""
    (folder / "alerts").mkdir(parents=True)
    for name, text in texts.items():
        (folder / "alerts" / name).write_text(f"{text}\n")
    return folder


def integrations(made: dict[str, Any], receiver: str) -> list[str]:
    """The kinds of a receiver's integrations, each as often as it has it."""
    (found,) = [one for one in made["receivers"] if one["name"] == receiver]
    return [kind for kind, those in found.items() if kind != "name" for _ in those]


def test_without_settings_every_alert_is_logged() -> None:
    """Each severity has a receiver that needs no account, so nothing is dropped."""
    assert BASE == alerting.configuration(Receivers())
    assert all(["webhook_configs"] == integrations(BASE, receiver["name"]) for receiver in BASE["receivers"])


def test_each_severity_and_team_has_a_receiver() -> None:
    """Every alert reaches the receiver of its severity and team; the alert that always fires has one of its own."""
    expected = {"watchdog", *(f"{severity}-{team}" for severity in alerting.SEVERITIES for team in alerting.TEAMS)}

    assert expected == {receiver["name"] for receiver in BASE["receivers"]}
    assert set(alerting.TEAMS) == {alert["labels"]["team"] for alert in monitoring.alerts()}


def test_containers_can_read_what_is_prepared(tmp_path: Path) -> None:
    """Whatever the umask: they run as other users. The settings stay closed to them."""
    before = os.umask(0o077)
    try:
        prepare(tmp_path)
    finally:
        os.umask(before)
    made = [tmp_path / "monitoring", *(tmp_path / "monitoring").rglob("*")]

    assert {0o755} == {path.stat().st_mode & 0o777 for path in made if path.is_dir()}
    assert {0o444} == {path.stat().st_mode & 0o777 for path in made if path.is_file()}
    assert 0o700 == (tmp_path / "alerts").stat().st_mode & 0o777


def test_receivers_are_added(tmp_path: Path) -> None:
    """E-mail gets all alerts, webhook and pager only critical ones, and the log remains; the watchdog goes nowhere else."""
    texts = MAIL | {"webhook_url": "https://x.example/y", "pager_key": "a-real-key"}
    made = alerting.configuration(alerting.read(settings(tmp_path, **texts) / "alerts"))

    for team in alerting.TEAMS:
        assert ["webhook_configs"] * 2 + ["email_configs", "pagerduty_configs"] == sorted(
            integrations(made, f"critical-{team}"), key=lambda kind: kind != "webhook_configs"
        )
        assert ["webhook_configs", "email_configs"] == integrations(made, f"warning-{team}")
    assert ["webhook_configs"] == integrations(made, "watchdog")


def test_a_team_has_addresses_of_its_own(tmp_path: Path) -> None:
    """They replace the common ones."""
    texts = MAIL | {"email_to_platform": "platform@example.com"}
    made = alerting.configuration(alerting.read(settings(tmp_path, **texts) / "alerts"))
    addresses = {one["name"]: one["email_configs"][0]["to"] for one in made["receivers"] if "email_configs" in one}

    assert {
        "critical-payments": "on-call@example.com",
        "warning-payments": "on-call@example.com",
        "critical-platform": "platform@example.com",
        "warning-platform": "platform@example.com",
    } == addresses


@pytest.mark.parametrize("name", alerting.KEYS)
def test_a_key_is_a_file_of_its_own(tmp_path: Path, name: str) -> None:
    """It is not in the configuration, which the pages of Alertmanager show."""
    prepare(settings(tmp_path, **MAIL, smtp_username="payflow", **{"smtp_password": "another", name: "a-real-key"}))
    written = (tmp_path / "monitoring" / "alertmanager" / CONFIGURATION).read_text()

    assert "a-real-key" not in written
    assert f"/etc/alertmanager/{name}" in written
    assert "a-real-key" == (tmp_path / "monitoring" / "alertmanager" / name).read_text()


def test_a_repeated_run_follows_the_settings(tmp_path: Path) -> None:
    """A setting that was removed is not used any more."""
    urls = {"runbooks_url": "https://git.example/blob/main", "dashboards_url": "https://grafana.example/"}
    prepare(settings(tmp_path, **urls))
    runbooks, dashboards = (
        tmp_path / "monitoring" / "alertmanager" / alerting.LINKS[name] for name in ("runbooks", "dashboards")
    )
    assert "https://git.example/blob/main/{{" in runbooks.read_text()
    assert "https://grafana.example/d/{{" in dashboards.read_text()

    (tmp_path / "alerts" / "runbooks_url").unlink()
    prepare(tmp_path)
    assert runbooks.read_text() == (SOURCE / alerting.LINKS["runbooks"]).read_text()


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        ({"webhook_ulr": "https://x.example"}, "webhook_ulr is not known"),
        ({"webhook_url": "x.example"}, "webhook_url is not an http:// or https:// address"),
        ({"email_to": "on-call@example.com"}, "email_to needs email_from and smtp_host"),
        (MAIL | {"smtp_host": "mail.example.com"}, "smtp_host is not host:port"),
        (MAIL | {"email_to": "on-call"}, "email_to is not an e-mail address"),
        (MAIL | {"smtp_password": "a-real-password"}, "smtp_username and smtp_password belong together"),
    ],
    ids=lambda value: value.partition(" ")[0] if isinstance(value, str) else "",
)
def test_a_wrong_setting_is_refused(tmp_path: Path, texts: dict[str, str], line: str) -> None:
    """One line names it, without its value, and nothing is written: an alert must not be lost for a misspelt name."""
    with pytest.raises(DeployError, match=re.escape(line)) as error:
        prepare(settings(tmp_path, **texts))

    assert "\n" not in str(error.value)
    assert "a-real-password" not in str(error.value)
    assert not (tmp_path / "monitoring").exists()


@pytest.mark.parametrize("rule", BASE["inhibit_rules"], ids=lambda rule: str(rule["source_matchers"][0]))
def test_inhibition_names_alerts(rule: dict[str, Any]) -> None:
    """Each name in a matcher is the name of an alert, and what is inhibited follows from another alert."""
    names = {alert["alert"] for alert in monitoring.alerts()}
    sources, targets = (
        [name for matcher in rule[f"{side}_matchers"] for name in _alternatives(matcher)]
        for side in ("source", "target")
    )
    for alternative in [*sources, *targets]:
        assert any(re.fullmatch(alternative, name) for name in names), alternative
    silenced = {name for name in names for target in targets if re.fullmatch(target, name)}
    assert set() == {name for name in silenced if NEVER_INHIBITED.fullmatch(name)}


@pytest.mark.parametrize(
    ("cause", "follows"),
    [
        ({"alertname": "PayflowApiDown", "role": "gateway"}, True),
        ({"alertname": "PayflowApiDown", "role": "notification"}, False),
        ({"alertname": "PostgresDown"}, False),
    ],
)
def test_a_probe_fails_by_itself(cause: dict[str, str], *, follows: bool) -> None:
    """That clients do not reach the gateway is kept back only while the gateway is down: nothing else explains it."""
    assert follows == monitoring.is_inhibited({"alertname": "PayflowProbeFailing"}, by=cause)


def _alternatives(matcher: str) -> list[str]:
    name, _, value = matcher.partition("=")
    return value.strip('~"').split("|") if name == "alertname" else []


@pytest.fixture
def log_url() -> Iterator[str]:
    server = alert_log.serve("127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


def post(url: str, body: bytes) -> int:
    """Send a notification; the status of the response."""
    try:
        with urllib.request.urlopen(url, data=body, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_the_log_has_a_line_for_each_alert(log_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With status, name, severity, summary and runbook."""
    labels = {"alertname": "RedisDown", "severity": "critical", "job": "redis"}
    annotations = {"summary": "Redis is down", "runbook": "docs/operations/runbooks/engines.md"}
    alert = {"status": "firing", "labels": labels, "annotations": annotations, "startsAt": "2026-11-30T12:00:00Z"}
    assert 200 == post(log_url, json.dumps({"alerts": [alert, alert | {"status": "resolved"}]}).encode())

    written = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ["firing", "resolved"] == [line["status"] for line in written]
    assert {"event": "alert_received", "alertname": "RedisDown", "severity": "critical"} | annotations | {
        "status": "firing",
        "since": "2026-11-30T12:00:00Z",
        "labels": {"job": "redis"},
    } == written[0]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"alerts": [1]}', b'{"alerts": [{}]}'])
def test_what_is_no_notification_is_refused(log_url: str, body: bytes) -> None:
    """So that Alertmanager counts a failed notification and tries again, instead of taking it for delivered."""
    assert 400 == post(log_url, body)


def test_the_watchdog_is_written_when_it_changes(log_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The first arrival is a line; the next ones are none."""
    for _ in range(3):
        assert 200 == post(log_url, json.dumps({"alerts": [WATCHDOG]}).encode())

    assert ["watchdog_received"] == [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]


def test_a_missing_watchdog_is_written_once() -> None:
    """Also if it never arrived; when it is back this is written too."""
    watchdog = alert_log.Watchdog(seconds=-1.0)
    seen = [*watchdog.check(), *watchdog.check(), *watchdog.record(), *watchdog.check()]

    assert ["watchdog_missing", "watchdog_received", "watchdog_missing"] == [json.loads(line)["event"] for line in seen]


def test_a_watchdog_in_time_is_not_missing() -> None:
    """Nothing is written before its time has passed."""
    assert [] == alert_log.Watchdog(seconds=60.0).check()
