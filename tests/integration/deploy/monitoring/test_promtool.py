"""The rules and configurations by Prometheus' own tools."""

from __future__ import annotations

import subprocess

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
