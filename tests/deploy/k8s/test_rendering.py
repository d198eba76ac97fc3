"""The manifests of one deployment, as the command joins them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from deploy.k8s import commands, phases, publishing, rendering, site
from deploy.k8s.rendering import Image
from deploy.k8s.site import Site
from deploy.programs import DeployError
from tests.deploy.k8s import pod_security
from tests.deploy.k8s.manifests import of_kind, workloads

DIGEST = "sha256:" + "0123456789abcdef" * 4
IMAGE = Image("localhost:32000/payflow", "3f2a1b4c5d6e", DIGEST)
COMPONENTS = ["monitoring", "postgres-alerts", "keda-prometheus"]

Resource = dict[str, Any]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> list[Resource]:
    """A deployment with everything."""
    folder = tmp_path_factory.mktemp("microk8s").resolve()
    return commands.render(folder, IMAGE, chosen=Site("pay.example.com", tls=True), components=COMPONENTS)


def test_pods_mount_secrets_that_exist(rendered: list[Resource]) -> None:
    """Each pod mounts a Secret of this deployment, under the name that its content gives it; there are no other Secrets."""
    mounted = {
        volume["secret"]["secretName"]
        for pod in workloads(rendered)
        for volume in pod.pod["volumes"]
        if "secret" in volume
    }

    assert mounted == set(of_kind(rendered, "Secret"))
    assert not {name for name in mounted if name.endswith("-secrets")}


def test_everything_runs_the_image_that_was_pushed(rendered: list[Resource]) -> None:
    """Roles and migrations run the image by its digest; the engines run theirs."""
    images = {
        pod.container["image"]
        for pod in workloads(rendered)
        if pod.component in {"role", "job"} and "provision" not in pod.name
    }

    assert images == {f"localhost:32000/payflow@{DIGEST}"}


def test_jobs_are_named_by_what_they_run(rendered: list[Resource]) -> None:
    """A Job has the tag in its name, and another name with another image or Secret: a finished Job cannot be changed."""
    jobs = of_kind(rendered, "Job")
    job = {"kind": "Job", "metadata": {"name": "auth-migrate-1"}, "spec": {"image": "a", "secret": "b"}}
    others = [{**job, "spec": {"image": "c", "secret": "b"}}, {**job, "spec": {"image": "a", "secret": "c"}}]
    names = [resource["metadata"]["name"] for resource in map(rendering.name_job, [job, *others, copy.deepcopy(job)])]

    assert len(jobs) == 5
    assert all("-3f2a1b4c5d6e-" in name for name in jobs)
    assert names[0] == names[3]
    assert len(set(names)) == 3


def test_the_host_is_everywhere(rendered: list[Resource]) -> None:
    """The name of the host is in the Ingress, in the certificate and in links."""
    pods = {pod.name: pod for pod in workloads(rendered)}
    (ingress,) = of_kind(rendered, "Ingress").values()

    assert ingress["spec"]["rules"][0]["host"] == "pay.example.com"
    assert ingress["spec"]["tls"][0]["hosts"] == ["pay.example.com"]
    assert of_kind(rendered, "Certificate")["gateway"]["spec"]["dnsNames"] == ["pay.example.com"]
    for role in ("gateway", "notification-deliver"):
        assert pods[role].environment["PAYFLOW_PUBLIC_URL"] == "https://pay.example.com"


def test_every_pod_still_passes_restricted(rendered: list[Resource]) -> None:
    """Guarantee 56: what is applied to MicroK8s, with all components, passes Pod Security restricted."""
    assert [fault for pod in workloads(rendered) for fault in pod_security.find_faults(pod.template)] == []


def test_workers_are_left_to_keda(rendered: list[Resource]) -> None:
    """With KEDA an update does not set the number of workers back."""
    assert "replicas" not in of_kind(rendered, "Deployment")["transaction-worker"]["spec"]


def test_order_of_applying(rendered: list[Resource]) -> None:
    """Engines first, then databases, then migrations, then roles: new code never runs before its schema is there."""
    parts = phases.order(rendered)
    kinds = {resource["kind"] for resource in parts.engines}

    assert [resource["kind"] for resource in parts.namespace] == ["Namespace"]
    assert kinds >= {"StatefulSet", "Secret", "ConfigMap", "Service", "NetworkPolicy", "StorageClass"}
    assert [resource["metadata"]["name"].partition("-")[0] for resource in parts.provision] == ["provision"]
    assert len(parts.migrations) == 4
    assert {resource["kind"] for resource in parts.roles} == {"Deployment", "CronJob", "ScaledObject"}
    together = [*parts.namespace, *parts.engines, *parts.provision, *parts.migrations, *parts.roles]
    assert len(together) == len(rendered)


@pytest.mark.parametrize(
    ("reference", "expected", "label"),
    [
        ("payflow:1.2", Image("payflow", "1.2", None), "1-2"),
        (f"registry:5000/a/payflow:V1_x@{DIGEST}", Image("registry:5000/a/payflow", "V1_x", DIGEST), "v1-x"),
        (f"registry.example.com/payflow@{DIGEST}", Image("registry.example.com/payflow", None, DIGEST), "0123456789ab"),
    ],
)
def test_references_of_images(reference: str, expected: Image, label: str) -> None:
    """A reference is read with its port, tag and digest, and its label fits into the name of a Job."""
    assert Image.parse(reference) == expected
    assert expected.label == label


@pytest.mark.parametrize("reference", ["payflow", "registry:5000/payflow", "payflow@sha256:12", "", "payflow:"])
def test_an_image_without_a_version_is_refused(reference: str) -> None:
    """An image must be named with a tag or a digest."""
    with pytest.raises(DeployError, match="no image with a tag or a digest"):
        Image.parse(reference)


def test_tags_of_revisions() -> None:
    """The tag is the commit; a tree with changes is marked."""
    assert publishing.tag("0123456789abcdef0123456789abcdef01234567") == "0123456789ab"
    assert publishing.tag("0123456789abcdef0123456789abcdef01234567-dirty") == "0123456789ab-dirty"
    assert publishing.tag("unknown") == "unknown"


def test_the_digest_is_that_of_the_registry() -> None:
    """Of the digests that Docker lists, the one that was pushed to MicroK8s counts; none is invented."""
    listed = f"docker.io/library/payflow@sha256:{'1' * 64}\nlocalhost:32000/payflow@{DIGEST}\n"

    assert publishing.pushed("localhost:32000/payflow:1", listed) == Image("localhost:32000/payflow", "1", DIGEST)
    with pytest.raises(DeployError, match="names no digest"):
        publishing.pushed("localhost:32000/payflow:1", listed.splitlines()[0])


def test_a_site_is_remembered(tmp_path: Path) -> None:
    """Host and HTTPS hold until others are given; an empty host removes it."""
    named = Site("pay.example.com", tls=True)
    assert site.choose(tmp_path, host=None, tls=None) == Site(None, tls=False)
    assert site.choose(tmp_path, host="pay.example.com", tls=True) == named

    site.remember(tmp_path, named)
    assert site.choose(tmp_path, host=None, tls=None) == named
    assert site.choose(tmp_path, host="", tls=False) == Site(None, tls=False)


@pytest.mark.parametrize("host", ["http://pay.example.com", "pay.example.com:80", "Pay", "pay/", "-a", "a..b", "a b"])
def test_a_wrong_host_is_refused(tmp_path: Path, host: str) -> None:
    """What is no host name is refused."""
    with pytest.raises(DeployError, match="no host name"):
        site.choose(tmp_path, host=host, tls=None)


def test_https_needs_a_host(tmp_path: Path) -> None:
    """A certificate is for a name."""
    with pytest.raises(DeployError, match="TLS=1 needs the name"):
        site.choose(tmp_path, host=None, tls=True)


def test_each_cluster_has_its_own_folder() -> None:
    """The secrets of one cluster are not those of another."""
    assert commands.folder_of(None).name == "microk8s"
    assert commands.folder_of("arn:aws/x").name == "microk8s-arn_aws_x"
