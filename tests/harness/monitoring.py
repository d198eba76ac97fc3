"""The files below `monitoring/`, read as data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from deploy.local.home import REPOSITORY

FOLDER = REPOSITORY / "monitoring"
RULES = sorted((FOLDER / "prometheus" / "rules").glob("*.yml"))
RULE_TESTS = sorted((FOLDER / "prometheus" / "tests").glob("*.yml"))
DASHBOARDS = sorted((FOLDER / "grafana" / "dashboards").glob("*.json"))

EXPORTERS = Path(__file__).with_name("exporters")
"""A file for each exporter: the labels of each series."""


@cache
def exporters() -> dict[str, dict[str, frozenset[str]]]:
    """The series of each exporter with their labels. A comment in each file says where they were read."""
    return {path.stem: _read_exporter(path) for path in sorted(EXPORTERS.glob("*.yml"))}


def _read_exporter(path: Path) -> dict[str, frozenset[str]]:
    return {name: frozenset(labels) for name, labels in read(path).items()}


def rules() -> list[dict[str, Any]]:
    """All recording and alert rules."""
    groups = [group for path in RULES for group in read(path)["groups"]]
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
        for test in read(path)["tests"]:
            for expected in test["promql_expr_test"]:
                (alert,) = re.findall(r'alertname="(\w+)"', expected["expr"])
                yield alert, bool(expected["exp_samples"])


def exporter_of(series: str) -> str | None:
    """The exporter that a series comes from; None if it is not one of an exporter."""
    return next((exporter for exporter, known in exporters().items() if series in known), None)


def labels_of(series: str) -> frozenset[str]:
    """The labels of a series of an exporter, with those that Prometheus adds."""
    return frozenset().union(*(known[series] for known in exporters().values() if series in known))


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
    """The content of a YAML or JSON file."""
    return yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
