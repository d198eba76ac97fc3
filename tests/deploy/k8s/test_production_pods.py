"""The pods of the production overlay keep the rules that those of MicroK8s keep. Its engines are those of operators."""

from __future__ import annotations

from tests.deploy.k8s import networks, pod_security, production_builds, schemas
from tests.deploy.k8s.manifests import Workload, microk8s, workloads

PODS = 17
"""Ten roles and the reversal, five Jobs, Redis."""


def pods() -> list[Workload]:
    """Every pod of the overlay."""
    return workloads(production_builds.production())


def test_every_pod_of_production_passes_restricted() -> None:
    """Guarantee 56: no pod of the production overlay violates Pod Security restricted."""
    assert {str(pod): faults for pod in pods() if (faults := pod_security.find_faults(pod.template))} == {}
    assert len(pods()) == PODS


def test_every_pod_of_production_is_isolated() -> None:
    """Guarantee 56: nothing reaches a pod of the production overlay, and it reaches nothing, but by a rule that names it."""
    for pod in pods():
        assert networks.isolated(production_builds.production(), pod) == {"Ingress", "Egress"}, pod


def test_no_rule_of_production_is_without_effect() -> None:
    """Each connection between pods is allowed at both ends."""
    assert networks.half_open(production_builds.production(), pods()) == set()


def test_roles_reach_what_they_reach_on_microk8s() -> None:
    """Between the roles the production overlay allows the same connections."""
    resources = production_builds.production()
    roles = [pod for pod in pods() if pod.component == "role"]
    others = [pod for pod in workloads(microk8s()) if pod.component == "role"]
    names = {pod.name for pod in roles}

    assert between(networks.allowed(resources, roles), names) == between(networks.allowed(microk8s(), others), names)


def between(edges: set[networks.Edge], names: set[str]) -> set[networks.Edge]:
    """The edges with both ends among these."""
    return {edge for edge in edges if {edge.source, edge.target} <= names}


def test_every_container_of_production_is_confined() -> None:
    """Limits, a read-only root file system and no token hold there, too."""
    for pod in pods():
        resources = pod.container["resources"]
        assert all(set(resources[kind]) == {"cpu", "memory"} for kind in ("requests", "limits")), pod
        assert pod.container["securityContext"]["readOnlyRootFilesystem"] is True, pod
        assert (pod.pod["automountServiceAccountToken"], pod.pod["enableServiceLinks"]) == (False, False), pod


def test_every_resource_of_production_fits_the_schema() -> None:
    """Every built-in resource has known fields only, in all three versions."""
    resources = [resource for resource in production_builds.production() if schemas.is_built_in(resource)]

    assert len(resources) > PODS
    for version in schemas.VERSIONS:
        assert [fault for resource in resources for fault in schemas.find_faults(resource, version)] == []
