"""The manifests fit the schemas of the oldest, a middle and the newest Kubernetes, and the rules that schemas cannot state."""

from __future__ import annotations

import copy
import json
import re
from datetime import UTC, datetime

import pytest

from tests.deploy.k8s import schemas
from tests.deploy.k8s.manifests import Resource, microk8s, of_kind, quantity, workloads
from tests.harness import cluster_samples
from tests.harness.collection import import_late

NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
NAME_LENGTH_MAX = 63
PORT_NAME_LENGTH_MAX = 15
SUFFIX_LENGTH_MAX = 36
"""Of a Job's name: the tag of the image, and what tells two builds of it apart."""


@pytest.mark.parametrize("version", schemas.VERSIONS)
def test_every_resource_fits_the_schema(version: str) -> None:
    """Every resource has known fields only, with values of the right types."""
    assert {
        str(resource["metadata"]): faults
        for resource in microk8s()
        if (faults := schemas.find_faults(resource, version))
    } == {}


def test_the_newest_schema_is_checked() -> None:
    """A newer package of schemas is noticed."""
    newest = import_late("kubernetes_validate").latest_version()

    assert schemas.VERSIONS[-1].startswith(newest.rpartition(".")[0])


@pytest.mark.parametrize("version", schemas.VERSIONS)
def test_an_unknown_field_is_found(version: str) -> None:
    """A misspelt field is no silent wish."""
    deployment = copy.deepcopy(of_kind(microk8s(), "Deployment")["wallet"])
    context = deployment["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    context["readOnlyRootFileSystem"] = context.pop("readOnlyRootFilesystem")

    (fault,) = schemas.find_faults(deployment, version)
    assert "readOnlyRootFileSystem" in fault


def test_names_and_labels_are_valid() -> None:
    """Names of resources, containers and ports, and values of labels, are those that Kubernetes accepts."""
    for resource in microk8s():
        name = resource["metadata"]["name"]
        suffix = SUFFIX_LENGTH_MAX if resource["kind"] == "Job" else 0
        assert NAME.fullmatch(name), name
        assert len(name) + suffix <= NAME_LENGTH_MAX, name
        for value in resource["metadata"].get("labels", {}).values():
            assert LABEL_VALUE.fullmatch(value), name
    for each in workloads(microk8s()):
        assert NAME.fullmatch(each.container["name"]), each
        for port in each.ports:
            assert NAME.fullmatch(port), each
            assert len(port) <= PORT_NAME_LENGTH_MAX, each


def test_each_resource_is_there_once() -> None:
    """No two resources have the same kind and name."""
    keys = [(resource["kind"], resource["metadata"]["name"]) for resource in microk8s()]

    assert len(keys) == len(set(keys))


def test_everything_is_in_the_namespace() -> None:
    """Only the namespace itself and the storage class are outside of the namespace payflow."""
    outside = {resource["kind"] for resource in microk8s() if resource["metadata"].get("namespace") != "payflow"}

    assert outside == {"Namespace", "StorageClass"}


def test_quantities_are_valid() -> None:
    """Requests and limits are quantities, and no request exceeds its limit."""
    for each in workloads(microk8s()):
        resources = each.container["resources"]
        for resource in ("cpu", "memory"):
            assert quantity(resources["requests"][resource]) <= quantity(resources["limits"][resource]), each


def test_nothing_secret_is_in_a_manifest() -> None:
    """No manifest holds a Secret, or a password in an address."""
    assert of_kind(microk8s(), "Secret") == {}
    text = json.dumps([_without_statements(resource) for resource in microk8s()])
    assert re.findall(r"[a-z]+://[^\s\"]*:[^\s\"]*@", text) == []


def _without_statements(resource: Resource) -> Resource:
    return {**resource, "data": {}} if resource["metadata"]["name"].startswith("provision-") else resource


def test_samples_of_a_cluster_fit_the_schema() -> None:
    """What the tests of the doctor take for the output of a cluster has only fields of the API, status included."""
    objects = [*cluster_samples.objects(datetime.now(UTC)), cluster_samples.dns()]
    assert [f"{each['kind']}: {fault}" for each in objects for fault in schemas.find_faults(each, "1.34.0")] == []
