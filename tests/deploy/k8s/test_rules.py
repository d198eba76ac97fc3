"""The alert rules in Kubernetes: those of monitoring/ unchanged, and those of the engines that operators run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from deploy.programs import find
from tests.deploy.k8s import production_builds
from tests.harness import write_manifests

PROMTOOL = find("promtool", hint="run `make engines`")
DASHBOARDS = production_builds.ROOT / "monitoring/grafana/dashboards"
APPLIED_SIZE_MAX = 262_144
"""Of the annotation in which `kubectl apply` keeps what it applied."""

TEST = Path(__file__).with_name("rules_test.yml")


def groups() -> list[dict[str, object]]:
    """Every group of rules of the production overlay."""
    return [
        group
        for resource in production_builds.production()
        if resource["kind"] == "PrometheusRule"
        for group in resource["spec"]["groups"]
    ]


def promtool(*arguments: str) -> None:
    """Run promtool, which must succeed."""
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_manifest_of_the_rules_is_current() -> None:
    """The manifest holds the rules of monitoring/: `make manifests` writes it."""
    assert write_manifests.MANIFEST.read_text(encoding="utf-8") == write_manifests.manifest()


def test_rules_of_the_engines_alert(tmp_path: Path) -> None:
    """A lost primary, too few standbys or nodes, and a failing archive raise their alerts; an engine in order raises none."""
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump({"groups": groups()}))
    promtool("check", "rules", str(rules))
    test = tmp_path / "test.yml"
    test.write_text(TEST.read_text(encoding="utf-8").replace("RULES", str(rules)))
    promtool("test", "rules", str(test))


def test_every_alert_has_a_runbook() -> None:
    """The runbook of each alert names it before its first section, and the page about monitoring lists it with its severity."""
    alerts = [rule for group in groups() for rule in group["rules"] if "alert" in rule]  # type: ignore[attr-defined]
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
