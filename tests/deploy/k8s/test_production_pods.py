"""The rules for pods and networks hold in production too, for what the operators of the engines start as well."""

from __future__ import annotations

import re
from functools import cache

import pytest

from deploy import facts
from tests.deploy.k8s import networks, pod_security, production_builds, schemas
from tests.deploy.k8s.manifests import Resource, Workload, matches, of_kind, workloads
from tests.deploy.k8s.networks import Edge
from tests.deploy.k8s.production_builds import SITE
from tests.deploy.k8s.test_custom_resources import KUBERNETES_GROUPS
from tests.harness import promql

API_PORT = 8000
MANAGEMENT_PORT = 15672
ENGINE_PORTS = {"postgres": 5432, "rabbitmq": 5672, "redis": 6379}
METRICS_PORTS = {"postgres": 9187, "rabbitmq": 15692}
MONITORING = ("namespace:observability", "namespace:monitoring")
DNS = "namespace:kube-system/kube-dns"
API_SERVER_AND_OBJECT_STORE = (443, 6443)


@cache
def pods() -> tuple[Workload, ...]:
    """Everything that runs, by the name of its role, job or engine."""
    started = [
        Workload(pod.kind, pod.labels["app.kubernetes.io/name"], pod.resource, pod.template)
        for pod in workloads(production_builds.production())
    ]
    return (*started, _postgres(), _rabbitmq())


def _postgres() -> Workload:
    """The pods of CloudNativePG, as far as the Cluster says what they are."""
    cluster = of_kind(production_builds.production(), "Cluster")["postgres"]
    # The only label of its pods on which its manual lets others rely. app.kubernetes.io/name differs by version.
    labels = {"cnpg.io/cluster": cluster["metadata"]["name"]}
    return Workload("Cluster", "postgres", cluster, {"metadata": {"labels": labels}, "spec": {"containers": []}})


def _rabbitmq() -> Workload:
    """The pods of the RabbitMQ operator, as far as the RabbitmqCluster says what they are."""
    cluster = of_kind(production_builds.production(), "RabbitmqCluster")["rabbitmq"]
    spec = cluster["spec"]["override"]["statefulSet"]["spec"]["template"]["spec"]
    labels = {"app.kubernetes.io/name": "rabbitmq", "app.kubernetes.io/component": "rabbitmq"}
    return Workload("RabbitmqCluster", "rabbitmq", cluster, {"metadata": {"labels": labels}, "spec": spec})


@pytest.mark.parametrize("version", schemas.VERSIONS)
def test_every_built_in_resource_fits_the_schema(version: str) -> None:
    """In production and in each component, every resource of Kubernetes itself has known fields with values of their types."""
    built = [*production_builds.production(), *production_builds.base_with("keda-postgresql")]
    assert {
        f"{resource['kind']} {resource['metadata']['name']}": faults
        for resource in built
        if resource["apiVersion"] in KUBERNETES_GROUPS and (faults := schemas.find_faults(resource, version))
    } == {}


def test_every_pod_passes_restricted() -> None:
    """Guarantee 56: in production, too, every pod whose security context is stated here passes Pod Security *restricted*."""
    assert {str(pod): faults for pod in pods() if (faults := pod_security.find_faults(pod.template))} == {}
    namespace = of_kind(production_builds.production(), "Namespace")["payflow"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_everything_has_requests_and_limits() -> None:
    """Every container states what it needs and what it may use, and so do the engines that operators run."""
    for pod in workloads(production_builds.production()):
        assert _is_limited(pod.container["resources"]), pod
    for kind, name in (("Cluster", "postgres"), ("RabbitmqCluster", "rabbitmq")):
        assert _is_limited(of_kind(production_builds.production(), kind)[name]["spec"]["resources"]), name


def _is_limited(resources: Resource) -> bool:
    return {kind: set(amounts) for kind, amounts in resources.items()} == {
        "requests": {"cpu", "memory"},
        "limits": {"cpu", "memory"},
    }


def test_no_pod_of_ours_has_a_token() -> None:
    """No role, job or cache gets a token of Kubernetes. Operators give their engines one, which they need."""
    for pod in workloads(production_builds.production()):
        assert pod.pod["automountServiceAccountToken"] is False, pod


def test_no_pod_of_ours_can_write_to_its_image() -> None:
    """Guarantee 56: in production, too, every container has a read-only root file system."""
    for pod in workloads(production_builds.production()):
        assert pod.container["securityContext"]["readOnlyRootFilesystem"] is True, pod


def test_every_setting_of_a_role_is_given_once() -> None:
    """A role or job gets only variables that it reads, and each that it requires, from the manifest or from its Secret."""
    secrets = {re.sub(r"-secrets-\w+$", "", name): each["data"] for name, each in _secrets().items()}
    for pod in pods():
        process = facts.PROCESSES.get(pod.name)
        if process is not None:
            files = {name.upper() for name in secrets[pod.name]}
            assert set(pod.environment) | files <= set(process.variables), pod
            assert process.required <= set(pod.environment) | files, pod
            assert set(pod.environment) & files == set(), pod


def _secrets() -> dict[str, Resource]:
    return of_kind(production_builds.production(), "Secret")


def test_every_pod_is_isolated() -> None:
    """Guarantee 56: in production, too, nothing reaches a pod, and a pod reaches nothing, but by a rule that names it."""
    for pod in pods():
        assert networks.isolated(production_builds.production(), pod) == {"Ingress", "Egress"}, pod


def test_exactly_the_edges_of_the_code_and_of_the_operators() -> None:
    """Guarantee 56: the policies of production allow what the code connects to and what the operators need, and no more."""
    allowed = networks.allowed(production_builds.production(), pods())
    assert allowed == _edges_of_the_code() | _edges_of_the_cluster() | _edges_of_the_operators()
    assert networks.half_open(production_builds.production(), pods()) == set()


def _edges_of_the_code() -> set[Edge]:
    running = {pod.name for pod in pods()}
    edges = {Edge(name, "postgres", ENGINE_PORTS["postgres"]) for name in ("provision", "compare", "reset")}
    # A reset after a restore empties both.
    edges |= {Edge("reset", "redis", ENGINE_PORTS["redis"]), Edge("reset", "rabbitmq", MANAGEMENT_PORT)}
    for process in facts.PROCESSES.values():
        if process.name in running:
            edges |= {Edge(process.name, service, API_PORT) for service in process.upstreams}
            edges |= {
                Edge(process.name, engine, ENGINE_PORTS[engine]) for engine in process.engines if engine != "smtp"
            }
            if "smtp" in process.engines:
                edges |= {Edge(process.name, "anywhere", port) for port in (25, 465, 587)}
    return edges


def _edges_of_the_cluster() -> set[Edge]:
    callers = [pod.name for pod in pods() if pod.name != "redis"]
    roles = [pod.name for pod in pods() if pod.labels.get("app.kubernetes.io/component") == "role"]
    names = {Edge(caller, DNS, 53, protocol) for caller in callers for protocol in ("TCP", "UDP")}
    scrapes = {Edge(source, role, 9100) for role in roles for source in MONITORING}
    scrapes |= {Edge(source, engine, port) for engine, port in METRICS_PORTS.items() for source in MONITORING}
    alerts = {Edge("gateway", f"{namespace}/alertmanager", 9093) for namespace in MONITORING}
    return names | scrapes | alerts | {Edge(f"namespace:{SITE['INGRESS_NAMESPACE']}", "gateway", API_PORT)}


def _edges_of_the_operators() -> set[Edge]:
    """Instances among themselves, operators to their instances, and both engines to the API server of Kubernetes."""
    edges = {Edge(engine, "anywhere", port) for engine in METRICS_PORTS for port in API_SERVER_AND_OBJECT_STORE}
    edges |= {Edge("rabbitmq", "rabbitmq", port) for port in (4369, 25672, 35672)}
    edges |= {Edge("namespace:rabbitmq-system/rabbitmq-operator", "rabbitmq", 15672)}
    for source in ("postgres", "namespace:cnpg-system/cloudnative-pg"):
        edges |= {Edge(source, "postgres", port) for port in (5432, 8000)}
    return edges


def _scraped() -> list[tuple[str, Resource]]:
    """Each pod's role with an endpoint at which a monitor scrapes it: through its Service, or directly."""
    resources = production_builds.production()
    services = of_kind(resources, "Service").values()
    by_service = of_kind(resources, "ServiceMonitor")["payflow"]["spec"]
    selectors = [
        {"matchLabels": service["spec"]["selector"]}
        for service in services
        if matches(by_service["selector"], service["metadata"].get("labels", {}))
    ]
    monitors = [(selector, endpoint) for selector in selectors for endpoint in by_service["endpoints"]]
    for monitor in of_kind(resources, "PodMonitor").values():
        monitors += [(monitor["spec"]["selector"], each) for each in monitor["spec"]["podMetricsEndpoints"]]
    roles = [pod for pod in pods() if pod.name in facts.ROLES]
    return [(pod.name, endpoint) for pod in roles for selector, endpoint in monitors if matches(selector, pod.labels)]


def test_every_role_is_scraped_once() -> None:
    """A process that two monitors scrape would count twice in every sum. APIs are found by their Service, others by their pod."""
    assert sorted(name for name, _ in _scraped()) == sorted(facts.ROLES)
    by_service = {name for name, endpoint in _scraped() if "targetPort" in endpoint}
    assert by_service == set(of_kind(production_builds.production(), "Service")) & set(facts.ROLES)


def test_every_role_is_scraped_under_its_name() -> None:
    """Prometheus reads every role at its port for metrics, and gives its metrics the labels that the rules select."""
    ports = {pod.name: pod.ports for pod in pods() if pod.name in facts.ROLES}
    # Prometheus replaces all special characters in the name of a label of a pod.
    label = "__meta_kubernetes_pod_label_" + re.sub(r"[^a-z0-9]", "_", "app.kubernetes.io/name")
    for name, endpoint in _scraped():
        assert ports[name][endpoint.get("targetPort") or endpoint["port"]] == 9100, name
        assert endpoint["relabelings"][:2] == [
            {"targetLabel": "job", "replacement": "payflow"},
            {"sourceLabels": [label], "targetLabel": "role"},
        ], name


def test_labels_of_our_metrics_are_kept() -> None:
    """The operator gives a target of a ServiceMonitor the label `service`, with which Prometheus would rename ours."""
    ours = {name for labels in promql.exported().values() for name in labels}
    for _, endpoint in _scraped():
        dropped = {each["regex"] for each in endpoint["relabelings"] if each.get("action") == "labeldrop"}
        added = {"namespace", "pod", "container", "endpoint"} | ({"service"} if "targetPort" in endpoint else set())
        assert added & ours == dropped, endpoint


def test_the_gateway_reads_firing_alerts() -> None:
    """It has the address of Alertmanager, and may connect to it and to nothing else of the monitoring namespaces."""
    gateway = next(pod for pod in pods() if pod.name == "gateway")
    assert gateway.environment["PAYFLOW_ALERTMANAGER_URL"] == SITE["ALERTMANAGER"]
    reached = {
        edge for edge in networks.allowed(production_builds.production(), pods()) if "observability" in edge.target
    }
    assert reached == {Edge("gateway", "namespace:observability/alertmanager", 9093)}


def test_keda_reaches_postgres_alone() -> None:
    """The component keda-postgresql lets KEDA connect to PostgreSQL, to that of CloudNativePG too, and to nothing else."""
    edge = Edge("namespace:keda", "postgres", ENGINE_PORTS["postgres"])
    ours = Workload(
        "StatefulSet", "postgres", {}, {"metadata": {"labels": {"app.kubernetes.io/name": "postgres"}}, "spec": {}}
    )
    for components, postgres in ((("keda-postgresql",), ours), (("keda-postgresql", "cnpg"), _postgres())):
        policies = of_kind(production_builds.base_with(*components), "NetworkPolicy")
        from_keda = [name for name, policy in policies.items() if "'keda'" in str(policy)]
        assert from_keda == ["postgres-scaler"]
        assert networks.allowed([policies["postgres-scaler"]], [postgres]) == {edge}


def test_everything_is_in_the_namespace() -> None:
    """Only the namespace itself is outside of the namespace payflow: the overlay touches nothing else of the cluster."""
    outside = {
        resource["kind"]
        for resource in production_builds.production()
        if resource["metadata"].get("namespace") != "payflow"
    }
    assert outside == {"Namespace"}
