"""Pure: what workloads of Kubernetes declare, and what a quota and the nodes leave them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from deploy.doctor.findings import Finding, fail, ok, passed_unless

Object = Mapping[str, Any]

SUFFIXES = {
    "m": 1e-3,
    "": 1.0,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
}
GIGABYTE = 1e9


def quantity(text: str | float) -> float:
    """A quantity as a number: `100m` is 0.1, `1Gi` is 1,073,741,824."""
    digits = str(text).rstrip("".join(set("".join(SUFFIXES))))
    return float(digits) * SUFFIXES[str(text)[len(digits) :]]


def declared(workloads: Sequence[Object]) -> Counter[str]:
    """The sum of all pods at their largest number, with one more of each Deployment while it is replaced."""
    total: Counter[str] = Counter()
    limits = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"]["maxReplicas"]
        for each in workloads
        if each["kind"] == "HorizontalPodAutoscaler"
    }
    for workload in workloads:
        if workload["kind"] in ("Deployment", "StatefulSet"):
            count = limits.get(workload["metadata"]["name"], workload["spec"].get("replicas", 1))
            count += workload["kind"] == "Deployment"
            total.update({key: value * count for key, value in _of_pod(workload["spec"]["template"]["spec"]).items()})
        elif workload["kind"] == "CronJob":
            # Two runs may overlap.
            pod = workload["spec"]["jobTemplate"]["spec"]["template"]["spec"]
            total.update({key: value * 2 for key, value in _of_pod(pod).items()})
    return total


def _of_pod(pod: Mapping[str, Any]) -> Counter[str]:
    total: Counter[str] = Counter({"pods": 1})
    for container in pod["containers"]:
        for kind, amounts in container.get("resources", {}).items():
            total.update({f"{kind}.{name}": quantity(amount) for name, amount in amounts.items()})
    return total


def check_quotas(quotas: Sequence[Object], wanted: Mapping[str, float]) -> list[Finding]:
    """What is declared fits into every ResourceQuota of the namespace."""
    found = []
    for quota in quotas:
        for key, hard in quota["spec"].get("hard", {}).items():
            # `cpu` and `memory` of a quota are those of requests.
            needed = wanted.get(key) or wanted.get(f"requests.{key}") or 0
            if needed > quantity(hard):
                sentence = (
                    f"the quota {quota['metadata']['name']} allows {key} {hard}, and {_text(key, needed)} is declared"
                )
                found.append(fail("quotas", sentence, "raise the quota, or lower replicas and requests"))
    return passed_unless(found, "quotas", "no quota is smaller than what is declared")


def check_nodes(nodes: Sequence[Object], wanted: Mapping[str, float]) -> list[Finding]:
    """The requests of all pods fit on the nodes that are ready."""
    found = []
    ready = [node for node in nodes if _condition(node, "Ready") == "True"]
    found += [
        fail("nodes", f"the node {node['metadata']['name']} is not ready", "see `microk8s inspect`")
        for node in nodes
        if node not in ready
    ]
    for node in nodes:
        found += [
            fail("nodes", f"the node {node['metadata']['name']} has {kind}", "free disk, memory or processes on it")
            for kind in ("DiskPressure", "MemoryPressure", "PIDPressure")
            if _condition(node, kind) == "True"
        ]
    for name in ("cpu", "memory") if ready else ():
        available = sum(quantity(node["status"]["allocatable"][name]) for node in ready)
        needed = wanted.get(f"requests.{name}", 0)
        if needed > available:
            sentence = f"{_text(name, needed)} of {name} is requested, and the nodes have {_text(name, available)}"
            found.append(fail("nodes", sentence, "add a node, or lower replicas and requests"))
    return found or [ok("nodes", f"{len(ready)} nodes are ready, and the requests fit")]


def _condition(node: Object, kind: str) -> str | None:
    conditions = node["status"].get("conditions", [])
    return next((str(each["status"]) for each in conditions if each["type"] == kind), None)


def _text(name: str, amount: float) -> str:
    return f"{amount / GIGABYTE:.1f} GB" if "memory" in name else f"{amount:g}"
