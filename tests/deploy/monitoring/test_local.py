"""The configuration of Prometheus beside a local stack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploy.monitoring import local

STACK = {"gateway": "http://127.0.0.1:1", "metrics": {"wallet": "http://127.0.0.1:2/metrics"}}
ADDRESS = "127.0.0.1:3"
ALERTMANAGER = {"alertmanager": ADDRESS}
EXPORTERS = {"postgres": ADDRESS}


def rules(**options: Any) -> set[str]:
    """The names of the rule files."""
    return {Path(path).name for path in local.configuration(STACK, rabbitmq=ADDRESS, **options)["rule_files"]}


def test_without_exporters_no_rule_reports_them_missing() -> None:
    """The rules about engines and machines are read only beside exporters."""
    assert set(local.NEED_EXPORTERS) == rules(servers=ALERTMANAGER, exporters=EXPORTERS) - rules(servers=ALERTMANAGER)


def test_without_alertmanager_no_rule_reports_it_missing() -> None:
    """AlertmanagerDown would fire all the time where no Alertmanager is run, and nothing can send the watchdog."""
    assert set(local.NEED_ALERTMANAGER) == rules(servers=ALERTMANAGER, exporters=EXPORTERS) - rules(exporters=EXPORTERS)
    assert "monitoring.yml" in local.NEED_ALERTMANAGER


def test_every_rule_is_read_beside_everything() -> None:
    """With exporters and Alertmanager no rule is left out."""
    assert {path.name for path in local.RULES.iterdir()} == rules(servers=ALERTMANAGER, exporters=EXPORTERS)
