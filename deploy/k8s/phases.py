"""Pure: the order in which the resources of a deployment are applied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Resource = dict[str, Any]

LAST = frozenset({"Deployment", "CronJob", "ScaledObject", "HorizontalPodAutoscaler"})
PROVISION = "provision"


@dataclass(frozen=True, slots=True)
class Phases:
    """Each part is applied when the one before has done its work, so that a failure leaves the running roles as they are."""

    namespace: list[Resource]
    engines: list[Resource]
    """Everything that is neither a Job nor a role."""
    provision: list[Resource]
    migrations: list[Resource]
    roles: list[Resource]


def order(resources: Iterable[Resource]) -> Phases:
    """Divide the resources of a deployment."""
    phases = Phases([], [], [], [], [])
    for resource in resources:
        _part(phases, resource).append(resource)
    return phases


def _part(phases: Phases, resource: Resource) -> list[Resource]:
    if resource["kind"] == "Namespace":
        return phases.namespace
    if resource["kind"] == "Job":
        is_provision = resource["metadata"]["labels"]["app.kubernetes.io/name"] == PROVISION
        return phases.provision if is_provision else phases.migrations
    return phases.roles if resource["kind"] in LAST else phases.engines
