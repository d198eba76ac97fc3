"""The alert rules in Kubernetes: those of monitoring/ unchanged, and those of the engines that operators run."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.programs import find
from tests.deploy.k8s import manifests, production_builds
from tests.harness import write_manifests

PROMTOOL = find("promtool", hint="run `make engines`")
DASHBOARDS = production_builds.ROOT / "monitoring/grafana/dashboards"
APPLIED_SIZE_MAX = 262_144
"""Of the annotation in which `kubectl apply` keeps what it applied."""

TEST = Path(__file__).with_name("rules_test.yml")
SLOW_TEST = Path(__file__).with_name("slow_rules_test.yml")
"""Of alerts about ages of hours, by the minute."""

MICROK8S_TEST = Path(__file__).with_name("microk8s_rules_test.yml")
ALERTS_OF_ENGINES = ("monitoring/engines.yaml", "postgres-alerts/rules.yaml")
"""Below deploy/k8s/components: what reads kube-state-metrics."""


def groups() -> list[dict[str, object]]:
    """Every group of rules of the production overlay."""
    return [
        group
        for resource in production_builds.production()
        if resource["kind"] == "PrometheusRule"
        for group in resource["spec"]["groups"]
    ]


def groups_of_engines() -> list[dict[str, object]]:
    """The groups of rules that read kube-state-metrics."""
    files = [production_builds.K8S / "components" / name for name in ALERTS_OF_ENGINES]
    return [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]["groups"]]


def expressions_of_engines() -> list[str]:
    """The expressions of those rules."""
    return [rule["expr"] for group in groups_of_engines() for rule in group["rules"]]  # type: ignore[attr-defined]


def check(groups: list[dict[str, object]], test: Path, folder: Path) -> None:
    """Run the unit tests of promtool on groups of rules."""
    rules = folder / "rules.yml"
    rules.write_text(yaml.safe_dump({"groups": groups}))
    promtool("check", "rules", str(rules))
    filled = folder / "test.yml"
    filled.write_text(test.read_text(encoding="utf-8").replace("RULES", str(rules)))
    promtool("test", "rules", str(filled))


def promtool(*arguments: str) -> None:
    """Run promtool, which must succeed."""
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_manifest_of_the_rules_is_current() -> None:
    """The manifest holds the rules of monitoring/: `make manifests` writes it."""
    assert write_manifests.MANIFEST.read_text(encoding="utf-8") == write_manifests.manifest()


def test_rules_of_the_engines_alert(tmp_path: Path) -> None:
    """A lost primary, too few standbys or nodes, and a failing archive raise their alerts; an engine in order raises none."""
    shared = {group["name"] for group in yaml.safe_load(write_manifests.manifest())["spec"]["groups"]}
    # A day of these. The rules of monitoring/ have tests of their own, and would take minutes.
    own = [group for group in groups() if group["name"] not in shared]
    for test in (TEST, SLOW_TEST):
        check(own, test, tmp_path)


def test_rules_about_kube_state_metrics_alert(tmp_path: Path) -> None:
    """PostgreSQL, Redis and backups: each alert is silent below its limit, fires at it, and clears."""
    check(groups_of_engines(), MICROK8S_TEST, tmp_path)


@pytest.mark.parametrize(
    ("kind", "name"),
    sorted({found for each in expressions_of_engines() for found in re.findall(r'(?<=,)(\w+)="([\w-]+)"', each)}),
)
def test_what_the_rules_watch_exists(kind: str, name: str) -> None:
    """The overlay microk8s or production has a resource of that kind with the name that a rule selects."""
    resources = [*manifests.microk8s(), *production_builds.production()]
    assert (kind, name) in {(each["kind"].lower(), each["metadata"]["name"]) for each in resources}


def test_every_alert_has_a_runbook() -> None:
    """The runbook of each alert names it before its first section, and the page about monitoring lists it with its severity."""
    all_groups = [*groups(), *groups_of_engines()]
    alerts = [rule for group in all_groups for rule in group["rules"] if "alert" in rule]  # type: ignore[attr-defined]
    monitoring = (production_builds.ROOT / "docs/operations/monitoring.md").read_text(encoding="utf-8")
    missing = [
        alert["alert"]
        for alert in alerts
        if f"`{alert['alert']}`" not in head_of(alert["annotations"]["runbook"])
        or f"| `{alert['alert']}` | {alert['labels']['severity']} |" not in monitoring
    ]
    assert missing == []


def head_of(page: str) -> str:
    """What a page of the repository says before its first section."""
    return (production_builds.ROOT / page).read_text(encoding="utf-8").partition("\n## ")[0]


def test_names_of_alerts_are_unique() -> None:
    """No two rules raise an alert of the same name."""
    alerts = [rule["alert"] for group in groups() for rule in group["rules"] if "alert" in rule]  # type: ignore[attr-defined]
    assert sorted(alerts) == sorted(set(alerts))


def test_every_dashboard_is_in_a_config_map() -> None:
    """Grafana in a cluster gets the dashboards of Compose, unchanged and small enough to be applied."""
    (config_map,) = [
        each for each in production_builds.production() if each["metadata"]["name"] == "payflow-dashboards"
    ]
    assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
    dashboards = {path.name: path.read_text(encoding="utf-8") for path in DASHBOARDS.glob("*.json")}
    assert config_map["data"] == dashboards
    assert sum(map(len, dashboards.values())) < APPLIED_SIZE_MAX
