"""Every series that an alert, a dashboard, an autoscaler or a page names is exported, with the labels by which it is selected.

Our own series are read from the source, those of exporters from lists that were read from the exporters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local.home import REPOSITORY
from payflow import evidence
from tests.harness import monitoring, promql

OPERATIONS = REPOSITORY / "docs" / "operations"
MANIFESTS = REPOSITORY / "deploy" / "k8s" / "components"
LABELS_OF_CLUSTERS = frozenset({"namespace", "pod", "container"})
"""The Prometheus operator adds them to each target."""

BLOCK = re.compile(r"^ *```promql\n(.*?)^ *```$", flags=re.MULTILINE | re.DOTALL)
QUERY = re.compile(
    r"`((?:payflow|rabbitmq|pg|redis|node|container|kube|probe|alertmanager|prometheus|cnpg)_\w+\{[^`]*\})`"
)
SERIES = re.compile(
    r"`(payflow_\w+_(?:total|seconds|bytes|ok|units|number|info|size|items|transfers|messages|dead_\w+|second))\b"
)
WORD = re.compile(
    r"(?<![\w./-])((?:payflow|rabbitmq|pg|redis|node|container|kube|probe|alertmanager|prometheus|cnpg|process)_[a-z0-9_]+)\b"
)
"""What looks like a series, in prose, tables and commands."""

NO_SERIES = {
    *(f"payflow_{name}" for name in ("auth", "wallet", "wallet_proof", "wallet_seal", "transaction", "notification")),
    *("payflow_postgres", "payflow_auth_secret", "pg_receivewal"),
}
"""Databases, logins, a volume, a setting and a program."""


def expressions() -> Iterator[tuple[str, str]]:
    """Where each expression stands, and the expression."""
    for rule in monitoring.rules():
        yield f"rule {rule.get('alert') or rule['record']}", rule["expr"]
    for path in monitoring.DASHBOARDS:
        for panel in monitoring.read(path)["panels"]:
            if panel["type"] != "row":
                yield from ((f"{path.stem}: {panel['title']}", text) for text in monitoring.expressions(panel))
    for path in sorted(MANIFESTS.rglob("*.yaml")):
        for resource in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader):
            yield from ((f"{path.parent.name}/{path.name}", text) for text in _queries(resource))
    for path in pages():
        for text in BLOCK.findall(path.read_text()):
            yield from ((path.name, line) for line in text.splitlines() if line.strip())


def _queries(resource: Any) -> Iterator[str]:
    """The queries of a PrometheusRule or of a ScaledObject that reads Prometheus."""
    if not isinstance(resource, dict):  # a patch is a list
        return
    spec = resource.get("spec", {})
    if resource.get("kind") == "PrometheusRule":
        yield from (rule["expr"] for group in spec["groups"] for rule in group["rules"])
    if resource.get("kind") == "ScaledObject":
        yield from (trigger["metadata"]["query"] for trigger in spec["triggers"] if trigger["type"] == "prometheus")


def pages() -> list[Path]:
    """The handbook of operations."""
    return sorted(OPERATIONS.rglob("*.md"))


def labels_of(series: str) -> frozenset[str] | None:
    """The labels of a series that our code or an exporter has; None if there is no such series."""
    if series in promql.exported():
        return promql.exported()[series] | LABELS_OF_CLUSTERS
    if monitoring.exporter_of(series) is not None:
        return monitoring.labels_of(series) | promql.TARGET_LABELS | LABELS_OF_CLUSTERS
    return None


EXPRESSIONS = list(expressions())


@pytest.mark.parametrize(("place", "expression"), EXPRESSIONS, ids=[place for place, _ in EXPRESSIONS])
def test_every_series_is_exported(place: str, expression: str) -> None:
    """Guarantee 63: no rule, panel or scaler reads a series or label that nothing exports."""
    for selector in promql.selectors(expression):
        if selector.name in monitoring.recorded():
            continue
        labels = labels_of(selector.name)
        assert labels is not None, (place, selector.name)
        assert selector.labels <= labels, (place, selector)


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(OPERATIONS)))
def test_series_of_a_page_are_exported(path: Path) -> None:
    """Guarantee 63: a series in the text of the handbook exists, with the labels given there."""
    text = path.read_text()
    named = {(name, frozenset[str]()) for name in SERIES.findall(text)}
    for query in QUERY.findall(text):
        name, _, labels = query.rstrip("}").partition("{")
        named.add((name, frozenset(re.findall(r"(\w+)(?:[=!~]|,|$)", labels))))
    for name, labels in named:
        known = labels_of(name) or labels_of(f"{name}_count")
        assert known is not None or name in monitoring.recorded(), name
        assert known is None or {_stored(label) for label in labels} <= known | promql.TARGET_LABELS, (name, labels)


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(OPERATIONS)))
def test_every_name_of_a_page_is_exported(path: Path) -> None:
    """Guarantee 63: also one that a page names in a command or in prose, in whatever form."""
    names = set(WORD.findall(path.read_text())) - NO_SERIES - monitoring.recorded()

    assert [] == sorted(name for name in names if labels_of(name) is None and labels_of(f"{name}_count") is None)


def test_series_of_a_ticket_are_exported() -> None:
    """Guarantee 63: `payflow ticket` reads series that the processes export."""
    assert [] == [name for name in evidence.SERIES if name not in promql.exported()]


def test_scalers_and_runbooks_are_among_what_is_checked() -> None:
    """Every ScaledObject that reads Prometheus has its query in the list, and every runbook is among the pages."""
    scalers = [path for path in MANIFESTS.rglob("*.yaml") if "type: prometheus\n" in path.read_text()]
    runbooks = {rule["annotations"]["runbook"] for rule in monitoring.alerts()}

    assert {f"{path.parent.name}/{path.name}" for path in scalers} <= {place for place, _ in EXPRESSIONS}
    assert scalers
    assert runbooks <= {path.relative_to(REPOSITORY).as_posix() for path in pages()}


def _stored(label: str) -> str:
    return f"exported_{label}" if label == "job" else label


def test_every_series_of_ours_is_documented() -> None:
    """The table of the metrics names each series that our code exports."""
    text = (OPERATIONS / "health-and-metrics.md").read_text()
    names = {re.sub(r"_(bucket|count|sum)$", "", name) if f"{name}" not in text else name for name in promql.exported()}

    assert [] == sorted(name for name in names if f"`{name}" not in text)


def test_no_label_holds_an_identifier() -> None:
    """The number of values of a label is bounded: none is named after an id, an address or a name of a user."""
    labels = {label for series in promql.exported().values() for label in series} - promql.TARGET_LABELS

    assert [] == sorted(
        label for label in labels if re.search(r"(^|_)(id|user|email|wallet|transfer|address|key)(_|$)", label)
    )
