"""Pure: what `kubectl get --output=json` shows, and what follows from it for a deployment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any

Resource = dict[str, Any]

VERSION_MIN = (1, 32)
"""The oldest version whose schemas the manifests are checked with."""

ADD_ONS: dict[str, tuple[str, str]] = {
    "dns": ("Deployment", "coredns"),
    "hostpath-storage": ("Deployment", "hostpath-provisioner"),
    "registry": ("Service", "registry"),
    "ingress": ("IngressClass", "public"),
}
"""What each add-on brings, by which it is recognised."""

KEDA = "scaledobjects.keda.sh"
PROMETHEUS = frozenset(
    f"{kind}.monitoring.coreos.com" for kind in ("podmonitors", "servicemonitors", "prometheusrules")
)
CERTIFICATES = "certificates.cert-manager.io"


class JobState(Enum):
    """How far a Job is."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"


def items(listed: Resource) -> list[Resource]:
    """The resources of a list; of a single one, itself."""
    found: list[Resource] = listed.get("items", [listed])
    return found


def name(resource: Resource) -> str:
    """The name of a resource."""
    text: str = resource["metadata"]["name"]
    return text


def server_version(version: Resource) -> tuple[int, int]:
    """The version of the cluster, from `kubectl version --output=json`."""
    server = version["serverVersion"]
    return int(server["major"]), int(server["minor"].rstrip("+"))


def missing_add_ons(listed: Resource, needed: Iterable[str]) -> list[str]:
    """The add-ons of MicroK8s that are not enabled."""
    present = {(resource["kind"], name(resource)) for resource in items(listed)}
    return [add_on for add_on in needed if ADD_ONS[add_on] not in present]


def components(definitions: Iterable[str]) -> list[str]:
    """The components of the manifests that this cluster supports, by the names of its custom resource definitions."""
    defined = set(definitions)
    has_prometheus = defined >= PROMETHEUS
    found = ["monitoring", "postgres-alerts"] if has_prometheus else []
    if KEDA in defined:
        found.append("keda-prometheus" if has_prometheus else "keda-postgresql")
    return found


def job_states(listed: Resource) -> dict[str, JobState]:
    """How far each Job is."""
    return {name(job): _job_state(job) for job in items(listed)}


def _job_state(job: Resource) -> JobState:
    conditions = {
        condition["type"] for condition in job.get("status", {}).get("conditions", []) if condition["status"] == "True"
    }
    if "Complete" in conditions:
        return JobState.COMPLETE
    return JobState.FAILED if "Failed" in conditions else JobState.RUNNING


def unready(listed: Resource) -> list[str]:
    """The Deployments and StatefulSets that do not run their newest version with all copies."""
    return [name(resource) for resource in items(listed) if not _is_rolled_out(resource)]


def _is_rolled_out(resource: Resource) -> bool:
    """As `kubectl rollout status` decides it, but that all copies must be ready, for a StatefulSet too."""
    status: dict[str, int] = resource.get("status", {})
    wanted: int = resource["spec"].get("replicas", 1)
    is_seen = status.get("observedGeneration", 0) >= resource["metadata"].get("generation", 1)
    are_ready = min(status.get("updatedReplicas", 0), status.get("readyReplicas", 0)) >= wanted
    return is_seen and are_ready and status.get("replicas", 0) == wanted


def troubles(listed: Resource) -> list[str]:
    """Why pods do not run, one line for each container: the image cannot be pulled, it crashes, there is no room."""
    return [f"{name(pod)}: {reason}" for pod in items(listed) for reason in _reasons(pod)]


def _reasons(pod: Resource) -> Iterator[str]:
    status = pod.get("status", {})
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield f"not scheduled: {condition.get('message', condition.get('reason', ''))}"
    for container in status.get("containerStatuses", []):
        waiting = container.get("state", {}).get("waiting", {})
        ended = container.get("lastState", {}).get("terminated") or container.get("state", {}).get("terminated") or {}
        if waiting.get("reason") not in {None, "ContainerCreating", "PodInitializing"}:
            code = f" (exit code {ended['exitCode']})" if "exitCode" in ended else ""
            yield f"{waiting['reason']}{code}"
        elif ended.get("exitCode"):
            yield f"ended with exit code {ended['exitCode']}"
        elif status.get("phase") == "Running" and not container.get("ready"):
            yield "running, not ready"
