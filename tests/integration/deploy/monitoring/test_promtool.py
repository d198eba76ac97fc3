"""The rules and configurations by Prometheus' own tools."""

from __future__ import annotations

import subprocess
from pathlib import Path

from deploy.monitoring import alerting
from deploy.monitoring.alerting import CONFIGURATION, Receivers
from tests.harness.monitoring import FOLDER, RULE_TESTS


def run(*command: object) -> str:
    """Run a tool to its end; its output."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_alert_fires_at_its_limit_and_clears() -> None:
    """The unit tests of the rules: silent just below the limit, firing once the time has passed, silent again."""
    run("promtool", "test", "rules", *RULE_TESTS)


def test_the_configuration_of_prometheus_is_valid() -> None:
    """So are the rule files that it names."""
    run("promtool", "check", "config", FOLDER / "prometheus" / "prometheus.yml")


def test_the_configuration_of_alertmanager_is_valid(tmp_path: Path) -> None:
    """Without settings and with all of them; each severity is routed to its receiver."""
    texts = {
        "email_to": "on-call@example.com",
        "email_from": "payflow@example.com",
        "smtp_host": "mail.example.com:587",
        "smtp_username": "payflow",
        "smtp_password": "a-real-password",
        "webhook_url": "https://hooks.example.com/services/1",
        "runbooks_url": "https://git.example.com/payflow/blob/main",
    }
    for name, receivers in (("default", Receivers()), ("full", Receivers.model_validate(texts))):
        (tmp_path / name / "templates").mkdir(parents=True)
        for path, text in alerting.texts(receivers).items():
            (tmp_path / name / path).write_text(text)
        run("amtool", "check-config", tmp_path / name / CONFIGURATION)

    routes = ("config", "routes", "test", f"--config.file={tmp_path / 'full' / CONFIGURATION}")
    assert ["critical", "warning"] == [
        run("amtool", *routes, f"severity={severity}").strip() for severity in ("critical", "warning")
    ]
