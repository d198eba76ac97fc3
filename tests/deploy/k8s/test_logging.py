"""The logging of a cluster: outside of the namespace payflow, with no more rights and edges than reading its log files needs."""

from __future__ import annotations

import json
import re
from functools import cache

import pytest
import yaml

from deploy import facts
from deploy.image import lock
from tests.deploy.k8s import networks, pod_security, schemas
from tests.deploy.k8s.manifests import K8S, Resource, Workload, build, containers, microk8s, of_kind, workloads
from tests.deploy.k8s.networks import Edge
from tests.harness import monitoring

FOLDER = K8S / "logging"
ALLOY = monitoring.FOLDER / "loki" / "kubernetes.alloy"
LOKI_PORT = 3100
NOT_RESTRICTED = {
    "alloy": {
        "pod: runAsUser is 0",
        "alloy: no runAsNonRoot",
        "volume logs: hostPath",
    },
    "loki": set(),
}
"""What each pod does that `restricted` forbids."""


@cache
def logging() -> tuple[Resource, ...]:
    """What is applied."""
    return build(FOLDER)


def pods() -> list[Workload]:
    """Alloy and Loki."""
    return workloads(logging())


@pytest.mark.parametrize("version", schemas.VERSIONS)
def test_every_resource_fits_the_schema(version: str) -> None:
    """Every resource has known fields only, with values of the right types."""
    source = yaml.safe_load((FOLDER / "data-source.yaml").read_text())
    assert [fault for each in (*logging(), source) for fault in schemas.find_faults(each, version)] == []


def test_it_has_a_namespace_of_its_own() -> None:
    """Nothing of it is in the namespace payflow, whose level stays `restricted`; nothing of the cluster outside is touched."""
    (namespace,) = of_kind(logging(), "Namespace").values()
    assert {each["metadata"].get("namespace") for each in logging() if each != namespace} == {"payflow-logging"}
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
    assert {each["kind"] for each in microk8s()}.isdisjoint({"DaemonSet"})


def test_only_what_logs_need_violates_restricted() -> None:
    """Alloy reads files of the node, which belong to root. Apart from that, both pods pass `restricted`."""
    assert {pod.name: set(pod_security.find_faults(pod.template)) for pod in pods()} == NOT_RESTRICTED


def test_containers_are_confined() -> None:
    """Neither has a token, a capability, or a writable image or folder of the node; both have limits and a locked image."""
    images = {image.reference for image in lock.read().values()}
    for pod in pods():
        assert pod.pod["automountServiceAccountToken"] is False
        assert len(list(containers(pod.pod))) == 1
        assert pod.container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(pod.container["resources"]) == {"requests", "limits"}
        assert pod.container["image"] in images
        host = {volume["name"] for volume in pod.pod["volumes"] if "hostPath" in volume}
        assert all(each["readOnly"] for each in pod.container["volumeMounts"] if each["name"] in host)


def test_nothing_but_the_lines_is_reachable() -> None:
    """Alloy reaches Loki and names, Grafana reaches Loki, and that is all."""
    grafana = {Edge(f"namespace:{name}/grafana", "loki", LOKI_PORT) for name in ("observability", "monitoring")}
    names = {Edge("alloy", "namespace:kube-system/kube-dns", 53, protocol) for protocol in ("TCP", "UDP")}
    assert networks.allowed(logging(), pods()) == {Edge("alloy", "loki", LOKI_PORT)} | grafana | names
    assert networks.half_open(logging(), pods()) == set()
    assert all(networks.isolated(logging(), pod) == {"Ingress", "Egress"} for pod in pods())


def test_addresses_and_files_are_those_of_loki() -> None:
    """Alloy and Grafana use the Service, both pods the configuration that is mounted, Loki its volume."""
    (service,) = of_kind(logging(), "Service").values()
    address = f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}/"
    source = yaml.safe_load((FOLDER / "data-source.yaml").read_text())["data"]["payflow-loki.yml"]
    assert f'url = "{address}loki/api/v1/push"' in ALLOY.read_text()
    assert yaml.safe_load(source)["datasources"][0]["url"] == "http://loki.payflow-logging.svc:3100"
    maps = of_kind(logging(), "ConfigMap")
    for pod in pods():
        (name,) = (volume["configMap"]["name"] for volume in pod.pod["volumes"] if "configMap" in volume)
        (file,) = maps[name]["data"]
        assert f"/etc/{pod.name}/{file}" in " ".join(pod.container["args"])
    mounts = {mount["mountPath"] for pod in pods() if pod.name == "loki" for mount in pod.container["volumeMounts"]}
    assert json.loads(json.dumps(monitoring.read(ALLOY.with_name("loki.yml"))))["common"]["path_prefix"] in mounts


def test_every_line_gets_a_service_of_a_closed_set() -> None:
    """The first word of a pod's name: the service of a role, and the engine or the job; never what differs for each pod."""
    (pattern,) = re.findall(r'regex += "(/var/log/pods/.+)"', ALLOY.read_text())
    services = {}
    for pod in workloads(microk8s()):
        path = f"/var/log/pods/payflow_{pod.name}-7d9f5c4b8-x2x7z_0b5c/payflow/0.log"
        found = re.fullmatch(pattern, path)
        assert found is not None, path
        services[pod.name] = found[1]
    assert {name: services[name] for name in facts.ROLES} == {name: role.service for name, role in facts.ROLES.items()}
    assert set(services.values()) - set(facts.SERVICES) == {
        *("postgres", "rabbitmq", "redis", "provision", "backup", "restore", "compare", "reset")
    }
