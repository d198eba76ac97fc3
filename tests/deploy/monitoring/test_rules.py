"""The rules of Prometheus: what they read, what they say, and that each alert is tested."""

from __future__ import annotations

import re
from itertools import groupby
from typing import Any

import pytest

from deploy.local.home import REPOSITORY
from deploy.local.roles import IDENTITIES
from services.transaction import queue_zone
from tests.harness import monitoring
from tests.harness.monitoring import alerts, rules

ALERTS = pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
HEADINGS = ["Meaning", "Impact on customers", "How to check", "What to do", "When to escalate"]
ALWAYS = "Watchdog"
"""It always fires."""


def test_the_zones_are_those_of_the_service() -> None:
    """The limits of the recording rule are those that `payflow queue` uses."""
    (rule,) = [rule for rule in rules() if rule.get("record") == "payflow:queue_zone"]
    limits = [float(limit) for limit in re.findall(r">=? bool ([\d.]+)", rule["expr"])]

    assert [queue_zone.BUSY_FROM, queue_zone.DELAYED_FROM, queue_zone.DELAYED_AGE_SECONDS] == limits


def test_every_role_is_watched() -> None:
    """Each role has an alert for a process that disappears, except those whose success is checked: reversal, canary."""
    absent = {
        role
        for alert in alerts()
        for role in re.findall(r'absent\(up\{job="payflow", role="([\w-]+)"\}\)', alert["expr"])
    }

    assert set(IDENTITIES) - {"transaction-reversal", "canary"} == absent


@ALERTS
def test_an_alert_explains_itself(alert: dict[str, Any]) -> None:
    """It has a severity, a team, a summary, a description in whole sentences, a runbook, and a dashboard that exists."""
    annotations = alert["annotations"]

    assert alert["labels"]["severity"] in (("none",) if alert["alert"] == ALWAYS else ("critical", "warning"))
    assert alert["labels"]["team"] in ("payments", "platform")
    assert {"summary", "description", "runbook", "dashboard"} == set(annotations)
    assert annotations["dashboard"] in {monitoring.read(path)["uid"] for path in monitoring.DASHBOARDS}
    assert not annotations["summary"].endswith(".")
    assert annotations["description"].endswith(".")


@ALERTS
def test_a_runbook_exists_and_names_its_alert(alert: dict[str, Any]) -> None:
    """It is a page of the repository with the five parts of a runbook, which lists the alert at its top."""
    name = alert["annotations"]["runbook"]
    page = (REPOSITORY / name).read_text()

    assert f"`{alert['alert']}`" in page.partition("\n## ")[0]
    assert re.findall(r"^## (.+)$", page, flags=re.MULTILINE) == HEADINGS


@ALERTS
def test_an_alert_is_documented(alert: dict[str, Any]) -> None:
    """The table of docs/operations/monitoring.md has it, with its severity."""
    page = (REPOSITORY / "docs" / "operations" / "monitoring.md").read_text()

    assert re.search(rf"^\| `{alert['alert']}` \| {alert['labels']['severity']} \|", page, flags=re.MULTILINE)


def test_every_alert_is_unit_tested() -> None:
    """For each one promtool checks that it is silent, then fires, then is silent again."""
    sequences: dict[str, set[tuple[bool, ...]]] = {}
    for alert, expectations in groupby(monitoring.rule_tests(), key=lambda pair: pair[0]):
        changes = tuple(fires for fires, _ in groupby(fires for _, fires in expectations))
        sequences.setdefault(alert, set()).add(changes)

    assert {alert["alert"] for alert in alerts()} == set(sequences)
    assert [] == [
        alert
        for alert, seen in sequences.items()
        if alert != ALWAYS and not any(" ".join(map(str, changes)).startswith("False True False") for changes in seen)
    ]
