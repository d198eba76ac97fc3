"""The edges that NetworkPolicies allow, computed as a cluster does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tests.deploy.k8s.manifests import Resource, Workload, matches, of_kind


class Edge(NamedTuple):
    """A connection: from a pod or `namespace:NAME` or `anywhere`, to one of them, at a port."""

    source: str
    target: str
    port: int
    protocol: str = "TCP"


def allowed(resources: Iterable[Resource], pods: Iterable[Workload]) -> set[Edge]:
    """The connections between pods that both ends allow, and those with other namespaces that the own end allows."""
    resources, pods = list(resources), list(pods)
    outgoing = set(_edges(resources, pods, "egress"))
    incoming = set(_edges(resources, pods, "ingress"))
    names = {pod.name for pod in pods}
    between = {edge for edge in outgoing & incoming if {edge.source, edge.target} <= names}
    return between | {edge for edge in outgoing | incoming if not {edge.source, edge.target} <= names}


def half_open(resources: Iterable[Resource], pods: Iterable[Workload]) -> set[Edge]:
    """The connections between pods that only one end allows: a rule without effect."""
    resources, pods = list(resources), list(pods)
    names = {pod.name for pod in pods}
    outgoing = {edge for edge in _edges(resources, pods, "egress") if edge.target in names}
    incoming = {edge for edge in _edges(resources, pods, "ingress") if edge.source in names}
    return outgoing ^ incoming


def isolated(resources: Iterable[Resource], pod: Workload) -> set[str]:
    """The directions in which nothing is allowed to a pod but what a policy names."""
    policies = of_kind(resources, "NetworkPolicy").values()
    return {
        direction
        for policy in policies
        if matches(policy["spec"]["podSelector"], pod.labels)
        for direction in policy["spec"]["policyTypes"]
    }


def _edges(resources: list[Resource], pods: list[Workload], direction: str) -> Iterator[Edge]:
    for policy in of_kind(resources, "NetworkPolicy").values():
        selected = [pod for pod in pods if matches(policy["spec"]["podSelector"], pod.labels)]
        for rule in policy["spec"].get(direction, []):
            peers = rule.get("to" if direction == "egress" else "from")
            others = {name for peer in peers for name in _names(peer, pods)} if peers else {"anywhere"}
            for pod in selected:
                for other in others:
                    yield from _at_ports(pod, other, rule, direction, pods)


def _at_ports(pod: Workload, other: str, rule: Resource, direction: str, pods: list[Workload]) -> Iterator[Edge]:
    source, target = (pod.name, other) if direction == "egress" else (other, pod.name)
    assert rule.get("ports"), f"{pod}: a rule for all ports"
    for port in rule["ports"]:
        yield Edge(source, target, _number(port["port"], target, pods), port["protocol"])


def _number(port: int | str, target: str, pods: list[Workload]) -> int:
    if isinstance(port, int):
        return port
    return next(pod for pod in pods if pod.name == target).ports[port]


def _names(peer: dict[str, Any], pods: list[Workload]) -> list[str]:
    """What a peer selects: pods of the namespace, or a namespace as a whole or by a selector of its pods."""
    assert set(peer) <= {"podSelector", "namespaceSelector"}, peer
    if "namespaceSelector" not in peer:
        return [pod.name for pod in pods if matches(peer["podSelector"], pod.labels)]
    selector = peer["namespaceSelector"]
    namespaces = [selector.get("matchLabels", {}).get("kubernetes.io/metadata.name")]
    for expression in selector.get("matchExpressions", []):
        assert (expression["key"], expression["operator"]) == ("kubernetes.io/metadata.name", "In"), peer
        namespaces = expression["values"]
    assert all(namespaces), f"{peer} selects every namespace"
    labels = peer.get("podSelector", {}).get("matchLabels")
    return [f"namespace:{name}" + (f"/{'/'.join(labels.values())}" if labels else "") for name in namespaces]
