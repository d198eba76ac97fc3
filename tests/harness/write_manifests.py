"""`make manifests`: write the alert rules of monitoring/ in the form that the Prometheus operator reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "monitoring" / "prometheus" / "rules"
MANIFEST = ROOT / "deploy" / "k8s" / "components" / "monitoring" / "rules.yaml"

ELSEWHERE = frozenset({"engines.yml", "monitoring.yml"})
"""Rules about what Compose starts. In Kubernetes the components of the engines and the stack of Prometheus have their own."""

_HEAD = """\
# Written by `make manifests` from monitoring/prometheus/rules/; a test compares them.
"""


def manifest() -> str:
    """The expected content of the manifest."""
    groups = [group for path in sorted(RULES.glob("*.yml")) if path.name not in ELSEWHERE for group in _groups(path)]
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "payflow", "labels": {"release": "kube-prom-stack"}},
        "spec": {"groups": groups},
    }
    return _HEAD + yaml.safe_dump(resource, sort_keys=False, width=120, allow_unicode=True)


def _groups(path: Path) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    return groups


if __name__ == "__main__":
    MANIFEST.write_text(manifest(), encoding="utf-8")
