"""Guarantee 56, second half: nothing is reachable but the edges that the code has."""

from __future__ import annotations

import copy

from deploy import facts
from tests.deploy.k8s import networks
from tests.deploy.k8s.manifests import Resource, Workload, matches, microk8s, of_kind, workloads
from tests.deploy.k8s.networks import Edge

API_PORT = 8000
METRICS_PORT = 9100
MANAGEMENT_PORT = 15672
ENGINE_PORTS = {"postgres": 5432, "rabbitmq": 5672, "redis": 6379}
MAIL_PORTS = (25, 465, 587)
MONITORING = ("namespace:observability", "namespace:monitoring")
DNS = "namespace:kube-system/kube-dns"


def pods() -> list[Workload]:
    """Everything that runs."""
    return workloads(microk8s())


def edges_of_the_code() -> set[Edge]:
    """The connections that roles and jobs make, from their settings."""
    edges = set()
    for process in facts.PROCESSES.values():
        if process.name not in {pod.name for pod in pods()}:
            continue
        edges |= {Edge(process.name, service, API_PORT) for service in process.upstreams}
        edges |= {Edge(process.name, engine, ENGINE_PORTS[engine]) for engine in process.engines if engine != "smtp"}
        if "smtp" in process.engines:
            edges |= {Edge(process.name, "anywhere", port) for port in MAIL_PORTS}
    others = ("provision", "backup", "restore", "compare", "reset")
    edges |= {Edge(name, "postgres", ENGINE_PORTS["postgres"]) for name in others}
    # A reset after a restore empties both.
    return edges | {Edge("reset", "redis", ENGINE_PORTS["redis"]), Edge("reset", "rabbitmq", MANAGEMENT_PORT)}


def edges_of_the_cluster() -> set[Edge]:
    """What the cluster itself needs: names, the ingress controller, monitoring."""
    callers = [pod for pod in pods() if pod.component in {"role", "job", "backup", "after-restore"}]
    roles = [pod for pod in pods() if pod.component == "role"]
    dns = {Edge(pod.name, DNS, 53, protocol) for pod in callers for protocol in ("TCP", "UDP")}
    scrapes = {Edge(source, pod.name, METRICS_PORT) for pod in roles for source in MONITORING}
    broker = {Edge(source, "rabbitmq", 15692) for source in MONITORING}
    return dns | scrapes | broker | {Edge("namespace:ingress", "gateway", API_PORT)}


def test_every_pod_is_isolated() -> None:
    """Guarantee 56: nothing reaches a pod, and a pod reaches nothing, but by a rule that names it."""
    for pod in pods():
        assert networks.isolated(microk8s(), pod) == {"Ingress", "Egress"}, pod


def test_exactly_the_edges_of_the_code() -> None:
    """Guarantee 56: the policies allow the connections that the settings of the roles name, and no others."""
    assert networks.allowed(microk8s(), pods()) == edges_of_the_code() | edges_of_the_cluster()


def test_services_have_the_ports_of_their_callers() -> None:
    """What a pod may reach under the name of a Service, the Service forwards: a rule alone connects nothing."""
    services = of_kind(microk8s(), "Service")
    offered = {(name, port["port"]) for name, service in services.items() for port in service["spec"]["ports"]}

    assert {edge for edge in edges_of_the_code() if edge.target != "anywhere"} == {
        edge for edge in edges_of_the_code() if (edge.target, edge.port) in offered
    }


def test_no_rule_without_effect() -> None:
    """Each connection between pods is allowed at both ends."""
    assert networks.half_open(microk8s(), pods()) == set()


def test_a_missing_rule_is_found() -> None:
    """Without the policy of the wallet its callers cannot reach it, and the comparison says so."""
    resources = [each for each in microk8s() if (each["kind"], each["metadata"]["name"]) != ("NetworkPolicy", "wallet")]

    missing = (edges_of_the_code() | edges_of_the_cluster()) - networks.allowed(resources, pods())
    assert missing == {
        Edge(caller, "wallet", API_PORT)
        for caller in ("gateway", "transaction", "transaction-worker", "transaction-reversal")
    }


def test_a_rule_too_many_is_found() -> None:
    """A policy that lets the worker reach Redis at both ends is found."""
    worker = next(pod for pod in pods() if pod.name == "transaction-worker")
    template: Resource = copy.deepcopy(worker.template)
    template["metadata"]["labels"]["payflow/uses-redis"] = "true"
    changed = [Workload(pod.kind, pod.name, pod.resource, template) if pod == worker else pod for pod in pods()]

    added = networks.allowed(microk8s(), changed) - edges_of_the_code() - edges_of_the_cluster()
    assert added == {Edge("transaction-worker", "redis", ENGINE_PORTS["redis"])}


def test_every_policy_selects_a_pod() -> None:
    """No policy is for pods that do not exist."""
    for name, policy in of_kind(microk8s(), "NetworkPolicy").items():
        assert any(matches(policy["spec"]["podSelector"], pod.labels) for pod in pods()), name
