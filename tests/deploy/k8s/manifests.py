"""The manifests of deploy/k8s, built by the real kubectl, each kustomization once for a run."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from deploy import programs

K8S = Path(__file__).parents[3] / "deploy" / "k8s"
KUBECTL = programs.ENVIRONMENT_PROGRAMS / "kubectl"
PARTS = ("overlays/microk8s", "jobs")
"""What make microk8s-deploy applies, but for Secrets; the base is a part of the overlay."""

QUANTITY = re.compile(r"([1-9][0-9]*)(m|Ki|Mi|Gi)?")
FACTORS = {None: 1.0, "m": 0.001, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}

Resource = dict[str, Any]

POD_TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
"""Where a kind has the template of its pods."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A resource that starts pods."""

    kind: str
    name: str
    resource: Resource
    template: Resource

    def __str__(self) -> str:
        """How a fault names it."""
        return f"{self.kind} {self.name}"

    @property
    def pod(self) -> Resource:
        """The specification of its pods."""
        spec: Resource = self.template["spec"]
        return spec

    @property
    def labels(self) -> dict[str, str]:
        """The labels of its pods."""
        labels: dict[str, str] = self.template["metadata"]["labels"]
        return labels

    @property
    def component(self) -> str:
        """Whether it is a role, a job, an engine or a part of the backups."""
        return self.labels["app.kubernetes.io/component"]

    @property
    def container(self) -> Resource:
        """Its only container."""
        (container,) = self.pod["containers"]
        found: Resource = container
        return found

    @property
    def is_ours(self) -> bool:
        """Whether it runs the image of the roles."""
        return bool(self.container["image"] == "payflow")

    @property
    def environment(self) -> dict[str, str | None]:
        """The variables of its container; None where the value comes from the pod."""
        return {variable["name"]: variable.get("value") for variable in self.container.get("env", [])}

    @property
    def ports(self) -> dict[str, int]:
        """The ports of its container, by name."""
        return {port["name"]: port["containerPort"] for port in self.container.get("ports", [])}


@cache
def microk8s() -> tuple[Resource, ...]:
    """Every resource for MicroK8s, but for Secrets."""
    return tuple(resource for part in PARTS for resource in build(K8S / part))


def build(folder: Path) -> tuple[Resource, ...]:
    """The resources of a kustomization."""
    text = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=True).stdout
    return tuple(yaml.load_all(text, yaml.CSafeLoader))


def workloads(resources: Iterable[Resource]) -> list[Workload]:
    """The resources that start pods."""
    return [
        Workload(resource["kind"], resource["metadata"]["name"], resource, _template(resource))
        for resource in resources
        if resource["kind"] in POD_TEMPLATES
    ]


def of_kind(resources: Iterable[Resource], kind: str) -> dict[str, Resource]:
    """The resources of one kind, by name."""
    return {resource["metadata"]["name"]: resource for resource in resources if resource["kind"] == kind}


def containers(pod: Resource) -> Iterator[Resource]:
    """All containers of a pod, of every sort."""
    for sort in ("initContainers", "containers", "ephemeralContainers"):
        yield from pod.get(sort, [])


def quantity(text: str) -> float:
    """A quantity of Kubernetes as a number."""
    match = QUANTITY.fullmatch(text)
    assert match is not None, f"{text} is no quantity"
    return int(match[1]) * FACTORS[match[2]]


def matches(selector: Resource, labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects something with these labels. The empty selector selects everything."""
    exact = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return exact and all(_holds(expression, labels) for expression in selector.get("matchExpressions", []))


def _holds(expression: Resource, labels: Mapping[str, str]) -> bool:
    assert expression["operator"] == "In", "the manifests need no other operator"
    return labels.get(expression["key"]) in expression["values"]


def _template(resource: Resource) -> Resource:
    for key in POD_TEMPLATES[resource["kind"]]:
        resource = resource[key]
    return resource
