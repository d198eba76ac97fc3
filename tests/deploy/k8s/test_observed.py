"""What the deploy command concludes from the output of kubectl; the samples follow the API and were not recorded on MicroK8s."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.k8s import cluster, observed
from deploy.k8s.observed import JobState

Resource = dict[str, Any]

ENABLED: Resource = {
    "items": [
        {"kind": "Deployment", "metadata": {"name": "coredns", "namespace": "kube-system"}},
        {"kind": "Deployment", "metadata": {"name": "hostpath-provisioner", "namespace": "kube-system"}},
        {"kind": "Deployment", "metadata": {"name": "registry", "namespace": "container-registry"}},
        {"kind": "Service", "metadata": {"name": "registry", "namespace": "container-registry"}},
        {"kind": "IngressClass", "metadata": {"name": "public"}},
        {"kind": "IngressClass", "metadata": {"name": "traefik"}},
    ]
}


def without(*names: str) -> Resource:
    """The sample without these resources."""
    return {"items": [item for item in ENABLED["items"] if item["metadata"]["name"] not in names]}


def workload(**status: int) -> Resource:
    """A Deployment of generation 2 with two copies."""
    return {
        "kind": "Deployment",
        "metadata": {"name": "wallet", "generation": 2},
        "spec": {"replicas": 2},
        "status": status,
    }


def test_add_ons_are_recognised() -> None:
    """Everything that is needed is there; what is missing is named as `microk8s enable` takes it."""
    assert observed.missing_add_ons(ENABLED, observed.ADD_ONS) == []
    assert observed.missing_add_ons({"items": []}, observed.ADD_ONS) == [
        "dns",
        "hostpath-storage",
        "registry",
        "ingress",
    ]
    assert observed.missing_add_ons(without("coredns", "public"), observed.ADD_ONS) == ["dns", "ingress"]
    assert observed.missing_add_ons(without("registry"), ["dns"]) == []


def test_components_follow_the_definitions() -> None:
    """KEDA reads Prometheus where there is one, else the database; without KEDA nothing scales."""
    prometheus = sorted(observed.PROMETHEUS)

    assert observed.components([]) == []
    assert observed.components([observed.KEDA]) == ["keda-postgresql"]
    assert observed.components([*prometheus, observed.KEDA]) == ["monitoring", "postgres-alerts", "keda-prometheus"]
    assert observed.components(prometheus) == ["monitoring", "postgres-alerts"]
    assert observed.components(prometheus[:1]) == []


def test_version_of_the_server() -> None:
    """The version is read from numbers with and without a plus sign."""
    assert observed.server_version({"serverVersion": {"major": "1", "minor": "34"}}) == (1, 34)
    assert observed.server_version({"serverVersion": {"major": "1", "minor": "29+"}}) < observed.VERSION_MIN


def test_job_states() -> None:
    """A Job is complete or failed by its conditions alone; attempts that failed are no end."""
    jobs = {
        "items": [
            {"metadata": {"name": "new"}},
            {"metadata": {"name": "retrying"}, "status": {"failed": 3, "active": 1}},
            {"metadata": {"name": "done"}, "status": {"conditions": [{"type": "Complete", "status": "True"}]}},
            {"metadata": {"name": "lost"}, "status": {"conditions": [{"type": "Failed", "status": "True"}]}},
            {"metadata": {"name": "unclear"}, "status": {"conditions": [{"type": "Complete", "status": "False"}]}},
        ]
    }

    assert observed.job_states(jobs) == {
        "new": JobState.RUNNING,
        "retrying": JobState.RUNNING,
        "done": JobState.COMPLETE,
        "lost": JobState.FAILED,
        "unclear": JobState.RUNNING,
    }


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2},
        {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 2, "readyReplicas": 3},
        {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "readyReplicas": 2},
        {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 1},
    ],
    ids=["nothing yet", "old version seen", "old copy left", "old copy not replaced", "not ready"],
)
def test_an_unfinished_rollout_is_not_ready(status: dict[str, int]) -> None:
    """A Deployment is ready when all copies are of its newest version and ready, and no other is left."""
    assert observed.unready({"items": [workload(**status)]}) == ["wallet"]


def test_a_finished_rollout_is_ready() -> None:
    """All copies are new and ready."""
    done = workload(observedGeneration=2, replicas=2, updatedReplicas=2, readyReplicas=2)

    assert observed.unready({"items": [done]}) == []


def test_troubles_of_pods() -> None:
    """The reason of each pod that does not run is one line."""
    pods = {
        "items": [
            {
                "metadata": {"name": "a"},
                "status": {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]},
            },
            {
                "metadata": {"name": "b"},
                "status": {
                    "containerStatuses": [
                        {
                            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                            "lastState": {"terminated": {"exitCode": 2}},
                        }
                    ]
                },
            },
            {
                "metadata": {"name": "c"},
                "status": {
                    "conditions": [
                        {"type": "PodScheduled", "status": "False", "message": "0/1 nodes: Insufficient memory."}
                    ]
                },
            },
            {
                "metadata": {"name": "d"},
                "status": {"phase": "Running", "containerStatuses": [{"ready": False, "state": {"running": {}}}]},
            },
            {
                "metadata": {"name": "e"},
                "status": {"phase": "Running", "containerStatuses": [{"ready": True, "state": {"running": {}}}]},
            },
            {
                "metadata": {"name": "f"},
                "status": {"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]},
            },
        ]
    }

    assert observed.troubles(pods) == [
        "a: ImagePullBackOff",
        "b: CrashLoopBackOff (exit code 2)",
        "c: not scheduled: 0/1 nodes: Insufficient memory.",
        "d: running, not ready",
    ]


def test_errors_become_one_line() -> None:
    """Of several lines of error output, the one that says what is wrong."""
    refused = "Warning: something\nError from server (Forbidden): pods is forbidden\nsome hint\n"
    no_permission = "Insufficient permissions to access MicroK8s.\nYou can either try again with sudo or add the user\n"

    assert cluster.explain(refused) == "Error from server (Forbidden): pods is forbidden"
    assert cluster.explain(no_permission) == cluster.NO_PERMISSION
    assert (
        cluster.explain("microk8s is not running, try microk8s start\n")
        == "microk8s is not running, try microk8s start"
    )
    assert cluster.explain("") == ""
