"""Custom resources have only fields that their projects define: no cluster is here to refuse another one."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tests.deploy.k8s import allow_lists, production_builds
from tests.deploy.k8s.allow_lists import Kind
from tests.harness.collection import import_late

LISTS = allow_lists.read_lists()
KINDS = {(kind.api_version, kind.name): kind for allow_list in LISTS for kind in allow_list.kinds}
KUBERNETES_GROUPS = (
    "v1",
    "apps/v1",
    "autoscaling/v2",
    "batch/v1",
    "networking.k8s.io/v1",
    "policy/v1",
    "storage.k8s.io/v1",
)


@cache
def custom_resources() -> list[dict[str, Any]]:
    """Every custom resource of the production overlay and of the components that it does not include."""
    resources = [
        *production_builds.production(),
        *production_builds.base_with("keda-postgresql"),
        *production_builds.base_with("tls"),
    ]
    return [resource for resource in resources if resource["apiVersion"] not in KUBERNETES_GROUPS]


def name(resource: dict[str, Any]) -> str:
    """How a fault names a resource."""
    return f"{resource['kind']} {resource['metadata']['name']}"


def faults(resource: dict[str, Any]) -> list[str]:
    """What is wrong with a resource."""
    kind = KINDS.get((resource["apiVersion"], resource["kind"]))
    if kind is None:
        return [f"{name(resource)}: no list has this kind"]
    return [f"{name(resource)}: {fault}" for fault in allow_lists.find_faults(resource, kind)]


def test_fields_are_allowed() -> None:
    """Every field of a custom resource is in the list of its kind, with a value of its type, and no required one is missing."""
    assert [fault for resource in custom_resources() for fault in faults(resource)] == []


def test_lists_name_their_sources() -> None:
    """A list names the version of its project and, for each file in which its fields were read, the commit."""
    for allow_list in LISTS:
        assert allow_list.version
        assert allow_list.sources
        for source in allow_list.sources:
            repository, path, _, commit = source.split()
            assert repository.count("/") == 1, source
            assert path
            assert len(commit) == 40, source


def test_lists_hold_only_what_is_used() -> None:
    """Each kind and each field of a list is used by a resource."""
    used: dict[tuple[str, str], set[str]] = {key: set() for key in KINDS}
    for resource in custom_resources():
        key = (resource["apiVersion"], resource["kind"])
        used[key] |= allow_lists.used_fields(resource, KINDS[key])
    assert {
        key: sorted(set(kind.fields) - used[key]) for key, kind in KINDS.items() if set(kind.fields) - used[key]
    } == {}


def every_change(value: Any) -> Iterator[tuple[Any, str]]:
    """Copies of a resource in each of which one field has another name."""
    if isinstance(value, dict):
        for field, inner in value.items():
            changed = {key if key != field else f"{key}X": item for key, item in value.items()}
            yield changed, field
            for inner_changed, path in every_change(inner):
                yield value | {field: inner_changed}, f"{field}.{path}"
    elif isinstance(value, list):
        for position, item in enumerate(value):
            for item_changed, path in every_change(item):
                yield [*value[:position], item_changed, *value[position + 1 :]], f"{position}.{path}"


FREE = ("matchLabels", "labels", "annotations", "parameters", "template")
"""Fields whose own fields are names that we choose, or are checked as a PodSpec."""


@pytest.mark.parametrize("key", sorted(KINDS), ids=lambda key: key[1])
def test_every_misspelt_field_is_found(key: tuple[str, str]) -> None:
    """Whichever field of a custom resource is misspelt, there is a fault."""
    resource = next(each for each in custom_resources() if (each["apiVersion"], each["kind"]) == key)
    missed = [
        path
        for spec, path in every_change(resource["spec"])
        if not any(f"{free}." in path for free in FREE) and faults(resource | {"spec": spec}) == []
    ]
    assert missed == []


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("ScaledObject", ["spec", "triggers", 0, "metadata", "threshold"], 50),
        ("ScaledObject", ["spec", "triggers", 0, "metadata", "ignoreNullValues"], False),
        ("Cluster", ["spec", "postgresql", "synchronous", "method"], "all"),
        ("Cluster", ["spec", "postgresql", "parameters", "max_connections"], 400),
        ("Cluster", ["spec", "storage", "size"], "100 GB"),
        ("Certificate", ["spec", "duration"], "10 years"),
    ],
)
def test_value_of_a_wrong_type_is_found(kind: str, path: list[str | int], value: object) -> None:
    """A number where a string belongs, and a value outside the possible ones, are faults."""
    resource = copy.deepcopy(next(each for each in custom_resources() if each["kind"] == kind))
    inner: Any = resource
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    assert len(faults(resource)) == 1


def test_overridden_pod_of_rabbitmq_is_a_pod() -> None:
    """What is merged into the pods of RabbitMQ has only fields of a PodSpec."""
    cluster = next(each for each in custom_resources() if each["kind"] == "RabbitmqCluster")
    spec = cluster["spec"]["override"]["statefulSet"]["spec"]["template"]["spec"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "rabbitmq"}, "spec": spec}
    import_late("kubernetes_validate").validate(pod, "1.34", strict=True)


def test_kinds_are_known() -> None:
    """A kind without a list is a fault."""
    assert faults({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob", "metadata": {"name": "any"}}) != []
    assert isinstance(KINDS["keda.sh/v1alpha1", "ScaledObject"], Kind)
