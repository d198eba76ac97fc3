"""The rules and configurations by Prometheus' own tools."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.monitoring import alerting
from deploy.monitoring.alerting import CONFIGURATION, Receivers
from tests.harness.monitoring import FOLDER, RULE_TESTS, alerts

LESS_GARBAGE_COLLECTION = {"GOGC": "800"}
"""The tools are written in Go. They end soon: a fifth of their CPU would be spent on collecting garbage."""


def run(*command: object) -> str:
    """Run a tool to its end; its output."""
    words = [str(word) for word in command]
    done = subprocess.run(words, env=os.environ | LESS_GARBAGE_COLLECTION, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: str(path.stem))
def test_every_alert_fires_at_its_limit_and_clears(path: Path) -> None:
    """The unit tests of the rules: silent just below the limit, firing once the time has passed, silent again."""
    run("promtool", "test", "rules", path)


def test_the_configuration_of_prometheus_is_valid() -> None:
    """So are the rule files that it names."""
    run("promtool", "check", "config", FOLDER / "prometheus" / "prometheus.yml")


def test_the_configuration_of_alertmanager_is_valid(tmp_path: Path) -> None:
    """Without settings and with all of them; each alert is routed to the receiver of its severity and team."""
    texts = {
        "email_to": "on-call@example.com",
        "email_from": "payflow@example.com",
        "smtp_host": "mail.example.com:587",
        "smtp_username": "payflow",
        "smtp_password": "a-real-password",
        "email_to_platform": "platform@example.com",
        "webhook_url": "https://hooks.example.com/services/1",
        "pager_key": "a-real-key",
        "dashboards_url": "https://grafana.example.com",
        "runbooks_url": "https://git.example.com/payflow/blob/main",
    }
    for name, receivers in (("default", Receivers()), ("full", Receivers.model_validate(texts))):
        (tmp_path / name / "templates").mkdir(parents=True)
        for path, text in alerting.texts(receivers).items():
            (tmp_path / name / path).write_text(text)
        run("amtool", "check-config", tmp_path / name / CONFIGURATION)

    routes = ("config", "routes", "test", f"--config.file={tmp_path / 'full' / CONFIGURATION}")
    wanted = {
        alert["alert"]: "watchdog" if alert["alert"] == "Watchdog" else "{severity}-{team}".format(**alert["labels"])
        for alert in alerts()
    }
    by_labels = {(wanted[alert["alert"]], *_labels(alert)) for alert in alerts()}
    assert [(receiver, *labels) for receiver, *labels in sorted(by_labels)] == [
        (run("amtool", *routes, *labels).strip(), *labels) for _, *labels in sorted(by_labels)
    ]


def _labels(alert: dict[str, Any]) -> list[str]:
    """What routes look at; the name matters only for the watchdog."""
    name = alert["alert"] if alert["alert"] == "Watchdog" else "Another"
    return [f"alertname={name}", *(f"{label}={alert['labels'][label]}" for label in ("severity", "team"))]
