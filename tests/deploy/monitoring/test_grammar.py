"""Every query is one that its program accepts, by the grammar of that program.

PromQL by the grammar of Prometheus 3; promtool and promql_parser check that of 2.42. LogQL by the grammar of Grafana's editor:
Loki itself cannot be installed here.
"""

from __future__ import annotations

import json
import re

import pytest

from deploy.local.home import REPOSITORY
from payflow import evidence
from payflow.log_line import Subject
from tests.deploy.monitoring import test_names
from tests.harness import grammars

BLOCK = re.compile(r"^ *```logql\n(.*?)^ *```$", flags=re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(\{\w+=[^`]+)`")
PAGES = sorted((REPOSITORY / "docs").rglob("*.md"))


def log_queries() -> list[str]:
    """The queries of all pages and of `payflow ticket`."""
    found = [evidence.loki_query(Subject("01a1fc70-68eb-7d62-bd2e-ad77d1cb0697", "a-request.id"))]
    for page in PAGES:
        text = page.read_text()
        found += [line for block in BLOCK.findall(text) for line in block.splitlines() if line.strip()]
        found += INLINE.findall(text)
    return found


WRONG: list[tuple[grammars.Language, str]] = [
    ("logql", '{service="a"'),
    ("logql", '{service="a"} | jsonn'),
    ("promql", "sum(up"),
    ("promql", "unknown(up)"),
]


@pytest.fixture(scope="module")
def errors() -> dict[str, int]:
    """The queries with an error, of all and of wrong ones: the parsers are started once."""
    queries: list[tuple[grammars.Language, str]] = [("logql", query) for query in log_queries()]
    queries += [("promql", query) for _, query in test_names.EXPRESSIONS]
    return grammars.syntax_errors([*queries, *WRONG])


def test_log_queries_are_logql(errors: dict[str, int]) -> None:
    """Each parses, and selects by labels that every stream may have, never by an id."""
    queries = log_queries()
    labels = {label for query in queries for label in re.findall(r"(\w+)=", query.partition("}")[0])}

    assert len(queries) > 4
    assert [query for query in queries if query in errors] == []
    assert labels <= {"service", "role", "level"}
    # Ids of transfers are in lists, which `| json` does not read.
    assert {field for query in queries for field in re.findall(r"\| json \| (\w+)=", query)} == {"request_id"}


def test_metric_queries_are_promql_of_prometheus_3(errors: dict[str, int]) -> None:
    """Those of rules, dashboards, manifests and pages."""
    assert len(test_names.EXPRESSIONS) > 100
    assert [place for place, query in test_names.EXPRESSIONS if query in errors] == []


def test_a_wrong_query_is_found(errors: dict[str, int]) -> None:
    """Each query that is wrong on purpose has an error, at the position where the text stops making sense."""
    assert {query: errors.get(query) for _, query in WRONG} == {
        '{service="a"': 12,
        '{service="a"} | jsonn': 21,
        "sum(up": 6,
        "unknown(up)": 7,
    }


def test_the_lock_file_is_complete() -> None:
    """Every package has the hash of its file, and no address of a registry, which would be that of one network."""
    lock = json.loads((grammars.FOLDER / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}

    assert packages
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert not any("resolved" in package for package in packages.values())
