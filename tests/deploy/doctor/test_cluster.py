"""The checks of a deployment on Kubernetes, over samples of a cluster that is well and of one that is not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deploy.doctor import addons, cluster, quantities
from deploy.doctor.findings import Finding
from deploy.doctor.targets import microk8s
from tests.harness import cluster_samples

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
Object = dict[str, Any]
Change = Callable[[list[Object]], None]


@pytest.fixture(scope="module")
def well() -> list[Object]:
    return cluster_samples.objects(NOW)


def one(objects: list[Object], kind: str, name: str) -> Object:
    [found] = [each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def failures(found: list[Finding]) -> list[str]:
    return [str(finding) for finding in found if finding.level != "ok"]


def test_a_deployment_that_is_well_has_only_unpinned_images(well: list[Object]) -> None:
    """Every check passes on the manifests of this repository with the status of a cluster that is well."""
    found = list(microk8s.check_objects(well, cluster_samples.manifests(), now=NOW))

    assert ["images"] == [finding.check for finding in found if finding.level != "ok"]


def change_status(kind: str, name: str, **status: Any) -> Change:
    return lambda objects: one(objects, kind, name)["status"].update(status)


def remove(kind: str, name: str) -> Change:
    return lambda objects: objects.remove(one(objects, kind, name))


def change_container(pod: str, **status: Any) -> Change:
    return lambda objects: one(objects, "Pod", pod)["status"]["containerStatuses"][0].update(status)


def change_spec(kind: str, name: str, **spec: Any) -> Change:
    return lambda objects: one(objects, kind, name)["spec"].update(spec)


def add_variable(name: str) -> Change:
    def change(objects: list[Object]) -> None:
        [container] = one(objects, "Deployment", "auth")["spec"]["template"]["spec"]["containers"]
        container["env"].append({"name": name, "value": "x"})

    return change


def set_variable(workload: str, name: str, value: str) -> Change:
    def change(objects: list[Object]) -> None:
        [container] = one(objects, "Deployment", workload)["spec"]["template"]["spec"]["containers"]
        container["env"].append({"name": name, "value": value})

    return change


def sweep_for(seconds: str) -> Change:
    def change(objects: list[Object]) -> None:
        pod = one(objects, "CronJob", "transaction-reversal")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        [entry] = [each for each in pod["containers"][0]["env"] if each["name"] == "PAYFLOW_REVERSAL_SECONDS_MAX"]
        entry["value"] = seconds

    return change


def grace(seconds: int) -> Change:
    def change(objects: list[Object]) -> None:
        one(objects, "Deployment", "gateway")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = seconds

    return change


def quota(**hard: str) -> Change:
    return lambda objects: objects.append(
        {
            "kind": "ResourceQuota",
            "metadata": {"name": "small"},
            "spec": {"hard": {k.replace("_", "."): v for k, v in hard.items()}},
        }
    )


UNSCHEDULED = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient cpu"}]

BROKEN: list[tuple[Change, str]] = [
    (remove("Deployment", "wallet"), "fail workloads: wallet is not deployed - run `make microk8s-deploy`"),
    (change_status("Deployment", "wallet", readyReplicas=1), "fail workloads: 1 of 2 pods of wallet are ready"),
    (change_status("Deployment", "wallet", observedGeneration=1), "fail workloads: wallet is still being replaced"),
    (change_status("StatefulSet", "postgres", readyReplicas=0), "fail workloads: 0 of 1 pods of postgres are ready"),
    (
        change_container("auth-0", state={"waiting": {"reason": "ImagePullBackOff"}}),
        "fail pods: auth-0 waits: ImagePull",
    ),
    (
        change_container("auth-0", lastState={"terminated": {"reason": "OOMKilled"}}),
        "warn pods: auth-0 ran out of memory",
    ),
    (change_container("auth-0", restartCount=9), "warn pods: auth-0 was restarted 9 times"),
    (change_status("Pod", "auth-0", conditions=UNSCHEDULED), "fail pods: auth-0 has no node: Insufficient cpu"),
    (remove("Job", "wallet-migrate"), "fail jobs: the Job wallet-migrate was never applied"),
    (
        change_status("Job", "auth-migrate", succeeded=0, conditions=[]),
        "fail jobs: the Job auth-migrate has not completed",
    ),
    (
        change_status("Job", "provision", succeeded=0, conditions=[{"type": "Failed", "status": "True"}]),
        "fail jobs: the Job provision has failed - microk8s kubectl -n payflow logs job/provision",
    ),
    (remove("CronJob", "transaction-reversal"), "fail cron jobs: the CronJob transaction-reversal was never applied"),
    (remove("CronJob", "backup"), "fail cron jobs: the CronJob backup was never applied"),
    (
        change_status("CronJob", "backup", lastSuccessfulTime="2026-11-30T02:16:00Z"),
        "fail cron jobs: the last success of the CronJob backup was at 2026-11-30T02:16:00Z",
    ),
    (
        change_status("CronJob", "transaction-reversal", lastSuccessfulTime=None),
        "fail cron jobs: the CronJob transaction-reversal has never succeeded",
    ),
    (
        change_status("CronJob", "transaction-reversal", lastSuccessfulTime="2026-12-01T11:50:00Z"),
        "fail cron jobs: the last success of the CronJob transaction-reversal was at 2026-12-01T11:50:00Z",
    ),
    (
        change_spec("CronJob", "transaction-reversal", suspend=True),
        "fail cron jobs: the CronJob transaction-reversal is susp",
    ),
    (
        change_spec("CronJob", "transaction-reversal", concurrencyPolicy="Forbid"),
        "fail reversal: the reversal has gaps: two runs may not overlap",
    ),
    (
        change_spec("CronJob", "transaction-reversal", schedule="*/5 * * * *"),
        "fail reversal: the reversal has gaps: its sch",
    ),
    (sweep_for("30"), "fail reversal: the reversal has gaps: it sweeps for 30 s of each minute"),
    (
        change_spec("PersistentVolume", "pvc-data-postgres-0", persistentVolumeReclaimPolicy="Delete"),
        "warn storage: the data of data-postgres-0 are deleted with the claim - microk8s kubectl patch pv pvc-data-postgres-0",
    ),
    (
        change_status("PersistentVolumeClaim", "data-postgres-0", phase="Pending"),
        "fail storage: the claim data-postgres-0 is Pending",
    ),
    (
        remove("StorageClass", "payflow-retain"),
        "fail storage: the storage class payflow-retain does not exist",
    ),
    (quota(requests_cpu="500m"), "fail quotas: the quota small allows requests.cpu 500m, and"),
    (quota(pods="5"), "fail quotas: the quota small allows pods 5"),
    (quota(memory="1Gi"), "fail quotas: the quota small allows memory 1Gi, and"),
    (
        change_status("Node", "laptop", allocatable={"cpu": "1", "memory": "32Gi"}),
        "fail nodes: ",
    ),
    (
        change_status("Node", "laptop", conditions=[{"type": "Ready", "status": "False"}]),
        "fail nodes: the node laptop is not ready",
    ),
    (remove("NetworkPolicy", "default-deny"), "fail policies: no NetworkPolicy denies everything by default"),
    (
        change_spec("NetworkPolicy", "default-deny", policyTypes=["Ingress"]),
        "fail policies: no NetworkPolicy denies everything by default",
    ),
    (
        lambda objects: one(objects, "Namespace", "payflow")["metadata"]["labels"].clear(),
        "fail policies: the namespace enforces Pod Security None, not restricted",
    ),
    (
        remove("IngressClass", "public"),
        "fail ingress: the ingress class public of gateway does not exist (there is none)",
    ),
    (remove("Ingress", "gateway"), "warn ingress: no Ingress publishes the gateway"),
    (
        change_container("auth-0", imageID="localhost:32000/payflow@sha256:2b"),
        "fail versions: the roles run 2 images: sha256:1a",
    ),
    (add_variable("PAYFLOW_AUTH_SECRET"), "fail secrets: auth has PAYFLOW_AUTH_SECRET in its environment"),
    (grace(29), "fail stopping: gateway is killed 29 s after the order to stop, and needs 29 s (5 s + 24 s)"),
    (
        set_variable("transaction", "PAYFLOW_REVERSAL_AFTER_SECONDS", "20"),
        "fail periods: transfers expire after 20 s, and a failover may take 40 s",
    ),
]


@pytest.mark.parametrize(("change", "line"), BROKEN, ids=[line[5:60] for _, line in BROKEN])
def test_one_broken_object_is_one_line(change: Change, line: str, well: list[Object]) -> None:
    """Each fault is found, and the line says what it is; every other check still passes."""
    broken = copy.deepcopy(well)
    change(broken)
    found = failures(list(microk8s.check_objects(broken, cluster_samples.manifests(), now=NOW)))

    assert [line] == [text[: len(line)] for text in found if text.startswith(line)]
    assert 2 >= len([text for text in found if not text.startswith("warn images")])


def test_a_new_cron_job_has_time_to_run(well: list[Object]) -> None:
    """Right after a deployment it has not run yet: a warning, no failure."""
    broken = copy.deepcopy(well)
    reversal = one(broken, "CronJob", "transaction-reversal")
    reversal["metadata"]["creationTimestamp"] = (NOW - timedelta(seconds=30)).isoformat()
    reversal["status"] = {}

    assert [
        "warn cron jobs: the CronJob transaction-reversal is new and has not succeeded yet - run the doctor again"
    ] == [str(finding) for finding in cluster.check_cron_jobs(broken, ["transaction-reversal"], now=NOW)]


def test_the_newest_run_of_a_job_counts(well: list[Object]) -> None:
    """The Job of an earlier version has completed; that says nothing about the new one."""
    broken = copy.deepcopy(well)
    newer = copy.deepcopy(one(broken, "Job", "auth-migrate"))
    newer["metadata"] |= {"name": "auth-migrate-v2", "creationTimestamp": NOW.isoformat()}
    newer["status"] = {"active": 1}
    broken.append(newer)

    assert ["the Job auth-migrate-v2 has not completed"] == [
        finding.sentence for finding in cluster.check_jobs(broken, ["auth-migrate"])
    ]


def test_a_secret_that_is_mounted_must_exist(well: list[Object]) -> None:
    """A pod whose Secret is missing waits without an error in its log."""
    mounted = {
        volume["secret"]["secretName"]
        for _, _, spec in cluster.containers(well)
        for volume in spec["volumes"]
        if "secret" in volume
    }

    assert [] == failures(cluster.check_secrets(well, mounted))
    assert ["fail secrets: missing: auth-secrets - run `make microk8s-deploy`"] == failures(
        cluster.check_secrets(well, mounted - {"auth-secrets"})
    )


def test_the_storage_class_must_retain(well: list[Object]) -> None:
    """A class of that name with another policy deletes the data of a claim; it cannot be changed."""
    deletes = [{"kind": "StorageClass", "metadata": {"name": "payflow-retain"}, "reclaimPolicy": "Delete"}]

    assert [] == failures(cluster.check_storage_class(well, "payflow-retain"))
    assert [] == failures(cluster.check_storage_class([], "payflow-retain"))
    [line] = failures(cluster.check_storage_class(deletes, "payflow-retain"))
    assert line.startswith("warn storage: the storage class payflow-retain has the reclaim policy Delete")


def test_dns_must_be_ready() -> None:
    """The line has the command that enables it."""
    assert [] == failures(cluster.check_dns([cluster_samples.dns()]))
    for objects in ([], [cluster_samples.dns(ready=0)]):
        assert ["fail dns: no DNS server of the cluster is ready - microk8s enable dns"] == failures(
            cluster.check_dns(objects)
        )


def test_addons_are_read_line_by_line() -> None:
    """MicroK8s prints descriptions without quotes, so its YAML may not be valid."""
    enabled = addons.parse(cluster_samples.STATUS)

    assert {"dns", "ha-cluster", "hostpath-storage", "ingress", "registry"} == {
        name for name, state in enabled.items() if state
    }
    assert enabled["keda"] is False
    assert [] == failures(addons.check_addons(enabled))


@pytest.mark.parametrize("name", ["dns", "hostpath-storage", "registry", "ingress"])
def test_a_missing_addon_has_its_command(name: str) -> None:
    """The line can be copied into a shell."""
    enabled = addons.parse(cluster_samples.STATUS) | {name: False}

    [line] = failures(addons.check_addons(enabled))
    assert line.startswith(f"fail add-ons: {name} is not enabled")
    assert line.endswith(f" - microk8s enable {name}")


def test_networks_without_calico_are_a_warning() -> None:
    """Without the plugin a NetworkPolicy is accepted and ignored."""
    enabled = addons.parse(cluster_samples.STATUS) | {"ha-cluster": False}

    assert ["warn"] == [finding.level for finding in addons.check_addons(enabled) if finding.level != "ok"]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("100m", 0.1),
        ("2", 2),
        (4, 4),
        ("128Mi", 128 * 2**20),
        ("1Gi", 2**30),
        ("500M", 5e8),
        ("32761136Ki", 32761136 * 1024),
    ],
)
def test_quantities(text: str | int, number: float) -> None:
    """Decimal and binary suffixes."""
    assert number == pytest.approx(quantities.quantity(text))


def test_a_scaled_workload_counts_at_its_largest() -> None:
    """What matters for a quota and for max_connections is the largest number of pods, and the one more of an update."""
    pod = {"containers": [{"resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "1Gi"}}}]}
    objects = [
        {"kind": "Deployment", "metadata": {"name": "w"}, "spec": {"replicas": 2, "template": {"spec": pod}}},
        {
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "any"},
            "spec": {"scaleTargetRef": {"name": "w"}, "maxReplicas": 8},
        },
    ]

    assert {"w": 9} == cluster.replicas_max(objects)
    wanted = quantities.declared(objects)
    assert (9, 9 * 2**30) == (wanted["pods"], wanted["limits.memory"])
    assert pytest.approx(0.9) == wanted["requests.cpu"]
