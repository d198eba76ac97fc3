"""The files below `monitoring/`, read as data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from deploy.local.home import REPOSITORY

FOLDER = REPOSITORY / "monitoring"
RULES = sorted((FOLDER / "prometheus" / "rules").glob("*.yml"))
RULE_TESTS = sorted((FOLDER / "prometheus" / "tests").glob("*.yml"))
DASHBOARDS = sorted((FOLDER / "grafana" / "dashboards").glob("*.json"))

EXPORTERS = {
    "node": ("node_cpu_seconds_total", "node_(filesystem|memory|disk|network)_.*", "node_load1"),
    "postgres": (
        "pg_up",
        "pg_stat_.*",
        "pg_locks_count",
        "pg_settings_max_connections",
        "pg_database_size_bytes",
        "pg_replication_slots_active",
    ),
    "redis": ("redis_up", "redis_memory_used_bytes", "redis_commands_processed_total", "redis_connected_clients"),
    "rabbitmq": ("rabbitmq_.*",),
    "prometheus": ("up", "ALERTS"),
    # Of the Python client, which each process of PayFlow uses.
    "process": ("process_.*",),
    # cAdvisor cannot run in the tests. Names and labels: docs/storage/prometheus.md of google/cadvisor.
    "cadvisor": ("container_cpu_usage_seconds_total", "container_memory_working_set_bytes"),
}
"""Patterns of the series of each exporter. Except for cAdvisor, a test reads them from a running exporter."""


def rules() -> list[dict[str, Any]]:
    """All recording and alert rules."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """All alert rules."""
    return [rule for rule in rules() if "alert" in rule]


def recorded() -> set[str]:
    """The names of the recording rules."""
    return {rule["record"] for rule in rules() if "record" in rule}


def rule_tests() -> Iterator[tuple[str, bool]]:
    """The name of an alert and whether it fires, for each expectation of the unit tests in their order."""
    for path in RULE_TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            for expected in test["promql_expr_test"]:
                (alert,) = re.findall(r'alertname="(\w+)"', expected["expr"])
                yield alert, bool(expected["exp_samples"])


def exporter_of(series: str) -> str | None:
    """The exporter that a series comes from; None if it is not one of an exporter."""
    for exporter, patterns in EXPORTERS.items():
        if any(re.fullmatch(pattern, series) for pattern in patterns):
            return exporter
    return None


def is_inhibited(consequence: Mapping[str, str], *, by: Mapping[str, str]) -> bool:
    """Whether Alertmanager keeps back the alert with these labels while the other one fires.

    Labels that are not given match only what an absent label matches.
    """
    return any(
        consequence != by
        and all(_matches(matcher, by) for matcher in rule["source_matchers"])
        and all(_matches(matcher, consequence) for matcher in rule["target_matchers"])
        and all(by.get(name, "") == consequence.get(name, "") for name in rule.get("equal", ()))
        for rule in read(FOLDER / "alertmanager" / "alertmanager.yml")["inhibit_rules"]
    )


def _matches(matcher: str, labels: Mapping[str, str]) -> bool:
    """Whether labels fit a matcher of Alertmanager."""
    (name, operator, pattern) = re.fullmatch(r'(\w+)(=~|!~|!=|=)"(.*)"', matcher).groups()  # type: ignore[union-attr]
    value = labels.get(name, "")
    fits = re.fullmatch(pattern, value) is not None if "~" in operator else value == pattern
    return fits != operator.startswith("!")


def expressions(panel: dict[str, Any]) -> list[str]:
    """The queries of a panel, with the variables of Grafana replaced."""
    return [target["expr"].replace("$__rate_interval", "1m") for target in panel["targets"]]


def read(path: Path) -> Any:
    """The content of a YAML file."""
    return yaml.safe_load(path.read_text())
