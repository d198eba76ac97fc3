"""The deployment of `make microk8s-deploy`: on MicroK8s of this machine, or on the cluster of a context that is named."""

from __future__ import annotations

import base64
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import yaml

from deploy import facts, programs
from deploy.doctor import (
    addons,
    cluster,
    containers,
    host,
    networks,
    periods,
    pools,
    processes,
    quantities,
    revisions,
    secrets,
)
from deploy.doctor.cluster import Object
from deploy.doctor.containers import Running
from deploy.doctor.findings import Finding, warn
from deploy.doctor.processes import Probe
from deploy.k8s import cluster as clusters
from deploy.k8s.cluster import NAMESPACE, Cluster
from deploy.k8s.commands import folder_of
from deploy.local import files
from deploy.local.home import REPOSITORY
from deploy.programs import DeployError
from deploy.secrets.files import STORE

OVERLAY = REPOSITORY / "deploy" / "k8s" / "overlays" / "microk8s"
STORAGE_CLASS = "payflow-retain"
DATA = Path("/var/snap/microk8s/common")
JOBS = ("provision", *(name for name in facts.JOBS if name.endswith("-migrate")))
REVERSAL = "transaction-reversal"
ADVICE = f"read its log: microk8s kubectl -n {NAMESPACE} logs --tail=50 --selector=app.kubernetes.io/name=ROLE"
APPLY = "run `make microk8s-deploy`"

NAMESPACED = (
    "deployments,statefulsets,pods,jobs,cronjobs,networkpolicies,ingresses,persistentvolumeclaims,resourcequotas,"
    "horizontalpodautoscalers"
)
SHARED = "nodes,storageclasses,persistentvolumes,ingressclasses,namespaces"


def before(context: str | None = None) -> Iterator[Finding]:
    """What can be known before `make microk8s-deploy`.

    Raises:
        DeployError: MicroK8s or the context is missing, or the cluster does not respond.
    """
    chosen = clusters.choose(context)
    yield from _check_add_ons(chosen)
    shared = _get(chosen, SHARED)
    yield from cluster.check_dns(_get(chosen, "deployments", namespace="kube-system"))
    yield from cluster.check_storage_class(shared, STORAGE_CLASS)
    manifests = build()
    wanted = quantities.declared(manifests)
    existing = _get(chosen, "resourcequotas,persistentvolumeclaims", namespace=NAMESPACE)
    yield from quantities.check_quotas(cluster.of_kind(existing, "ResourceQuota"), wanted)
    yield from quantities.check_nodes(cluster.of_kind(shared, "Node"), wanted)
    yield from cluster.check_ingress([*cluster.of_kind(shared, "IngressClass"), *cluster.of_kind(manifests, "Ingress")])
    yield from host.check_images(cluster.images(manifests))
    claims = [cluster.name(claim) for claim in cluster.of_kind(existing, "PersistentVolumeClaim")]
    store = folder_of(context) / STORE
    yield from secrets.check_orphaned_volumes(claims, has_store=store.exists(), path=str(store))
    if context is None:
        yield from _check_disk()


def after(context: str | None = None) -> Iterator[Finding]:
    """The objects of the cluster, and what the processes in it say of themselves.

    Raises:
        DeployError: MicroK8s or the context is missing, the cluster does not respond, or nothing is deployed.
    """
    chosen = clusters.choose(context)
    objects = _get(chosen, NAMESPACED, namespace=NAMESPACE)
    if not cluster.of_kind(objects, "Deployment"):
        raise DeployError(f"nothing is deployed in the namespace {NAMESPACE} of {chosen}: {APPLY}")
    yield from _check_add_ons(chosen)
    yield from cluster.check_dns(_get(chosen, "deployments", namespace="kube-system"))
    yield from check_objects([*objects, *_get(chosen, SHARED)], build(), now=datetime.now(UTC))
    names = _run(chosen, "get", "secrets", "--namespace", NAMESPACE, "--output=name").split()
    yield from cluster.check_secrets(objects, [name.partition("/")[2] for name in names])
    yield from _check_processes(chosen, objects)
    yield from _check_databases(chosen, objects)
    yield from _check_secret_store(folder_of(context) / STORE)
    yield from secrets.check_grafana(_grafana_password(chosen), where="the namespace observability")
    if context is None:
        yield from _check_disk()


def check_objects(objects: Sequence[Object], manifests: Sequence[Object], *, now: datetime) -> Iterator[Finding]:
    """Everything that the objects alone show; `manifests` say what must be there."""
    workloads, cron_jobs = cluster.list_expected(manifests)
    yield from cluster.check_workloads(objects, workloads)
    yield from cluster.check_pods(objects)
    yield from cluster.check_jobs(objects, JOBS)
    yield from cluster.check_cron_jobs(objects, cron_jobs, now=now)
    for each in cluster.of_kind(objects, "CronJob"):
        if cluster.name(each) == REVERSAL:
            yield from periods.check_reversal_schedule(each)
    yield from cluster.check_storage(objects)
    wanted = quantities.declared(objects)
    yield from quantities.check_quotas(cluster.of_kind(objects, "ResourceQuota"), wanted)
    yield from quantities.check_nodes(cluster.of_kind(objects, "Node"), wanted)
    yield from cluster.check_policies(objects)
    yield from cluster.check_ingress(objects)
    yield from cluster.check_image_ids(objects, facts.ROLES)
    yield from host.check_images(cluster.images(objects))
    names = {name for process in facts.PROCESSES.values() for name in process.secrets}
    yield from secrets.check_environments(cluster.environments(objects), names)
    yield from secrets.check_demo(cluster.environments(objects))
    yield from periods.check_stopping(cluster.stopping(objects, facts.ROLES), drain=facts.PERIODS.stop_max)
    yield from periods.check_transfer_periods(
        reversal_after=cluster.reversal_after(objects, facts.PERIODS.reversal_after),
        message_lifetime=facts.PERIODS.message_lifetime,
    )


def build() -> list[Object]:
    """The objects of the overlay, as kubectl builds them."""
    kubectl = programs.find("kubectl", hint="run `make engines`")
    text = programs.output([kubectl, "kustomize", str(OVERLAY)], what=f"kubectl kustomize {OVERLAY}")
    return parse(text)


def parse(text: str) -> list[Object]:
    """The objects of a built kustomization."""
    # The parser in C, where there is one, is ten times as fast.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [each for each in yaml.load_all(text, Loader=loader) if each]


def _check_processes(chosen: Cluster, objects: Sequence[Object]) -> Iterator[Finding]:
    def run_in(pod: Object) -> containers.Command:
        name = cluster.name(pod)
        return lambda command: [
            *chosen.command,
            *("exec", "--namespace", NAMESPACE, name, "--container=payflow", "--"),
            *command,
        ]

    running = [
        Running(cluster.name(pod), cluster.label(pod), run_in(pod))
        for pod in cluster.of_kind(objects, "Pod")
        if cluster.label(pod) in facts.ROLES
        and pod["status"]["phase"] == "Running"
        and "deletionTimestamp" not in pod["metadata"]
    ]
    allowed = {name: networks.edges(role.upstreams, role.engines) for name, role in facts.ROLES.items()}
    every = frozenset().union(*allowed.values())
    probes = containers.probe_all(running, {name: sorted(every - {f"{name}:8000"}) for name in allowed})
    yield from check_probes(probes, allowed, now=time.time())


def check_probes(probes: Sequence[Probe], allowed: Mapping[str, frozenset[str]], *, now: float) -> Iterator[Finding]:
    """What the processes say. A pod of the reversal lives for a minute: it may be starting, or there may be none."""
    probes = [probe for probe in probes if probe.role != REVERSAL or (probe.metrics and not _failing(probe))]
    jobs = dict(processes.JOB_SECONDS_MAX)
    if not processes.largest(probes, processes.JOB_METRIC, "job").get("reversal"):
        # Its CronJob says when it last succeeded.
        jobs.pop("reversal")
    yield from processes.check_roles(probes, [name for name in facts.ROLES if name != REVERSAL], advice=ADVICE)
    yield from processes.check_readiness(probes, advice=ADVICE)
    yield from processes.check_versions(probes)
    yield from processes.check_jobs(probes, now=now, advice=ADVICE, seconds_max=jobs)
    yield from processes.check_queues(probes)
    yield from processes.check_ledger(probes)
    yield from processes.check_clocks(probes)
    yield from processes.check_open_files(probes)
    yield from networks.check_dns(probes, allowed)
    advice = "see whether the network plugin enforces NetworkPolicy (microk8s enable ha-cluster)"
    yield from networks.check_edges(probes, allowed, advice=advice)


def _failing(probe: Probe) -> bool:
    return probe.ready is not None and bool(probe.ready["failing"])


def _check_databases(chosen: Cluster, objects: Sequence[Object]) -> Iterator[Finding]:
    command = [
        *("exec", "--namespace", NAMESPACE, "statefulset/postgres", "--container=postgres", "--"),
        *("sh", "-c", revisions.shell()),
    ]
    try:
        output = _run(chosen, *command)
    except DeployError:
        output = ""
    found, connections_max = revisions.parse(output)
    yield from host.check_revisions(found, revisions.expected())
    uses = pools.list_uses(cluster.replicas_max(objects), cluster.environments(objects))
    yield from periods.check_connections(uses, connections_max=connections_max)


def _check_secret_store(store: Path) -> Iterator[Finding]:
    if not store.exists():
        sentence = f"{store} is not on this machine: whether passwords are strong was not checked"
        yield warn("secrets", sentence, "run the doctor where `make microk8s-deploy` ran")
        return
    yield from secrets.check_store(files.read_object(store) or {}, path=str(store))
    yield from secrets.check_modes({str(path): path.stat().st_mode & 0o777 for path in (store.parent, store)})


def _check_add_ons(chosen: Cluster) -> Iterator[Finding]:
    """Only MicroK8s has add-ons."""
    if chosen.context is None:
        command = [chosen.command[0], "status", "--format", "yaml"]
        yield from addons.check_addons(addons.parse(programs.output(command, what="microk8s status")))


def _check_disk() -> Iterator[Finding]:
    existing = DATA if DATA.exists() else Path("/")
    usage = shutil.disk_usage(existing)
    yield from host.check_disk(str(existing), total=usage.total, free=usage.free)


def _grafana_password(chosen: Cluster) -> str | None:
    where = ("kube-prom-stack-grafana", "--namespace", "observability", "--ignore-not-found")
    encoded = _run(chosen, "get", "secret", *where, "--output=jsonpath={.data.admin-password}").strip()
    return base64.b64decode(encoded).decode() if encoded else None


def _get(chosen: Cluster, kinds: str, *, namespace: str | None = None) -> list[Object]:
    where = [] if namespace is None else ["--namespace", namespace]
    found: list[Object] = chosen.get(kinds, *where).get("items", [])
    return found


def _run(chosen: Cluster, *arguments: str) -> str:
    return chosen.run(arguments, what=f"{arguments[0]} {arguments[1]} of {chosen}")
