"""Pure: the objects of a deployment on Kubernetes, from `kubectl get -o json`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from deploy.doctor.findings import Finding, fail, ok, passed_unless, warn
from deploy.doctor.periods import Stopping

Object = Mapping[str, Any]

NAME_LABEL = "app.kubernetes.io/name"
EACH_MINUTE = "* * * * *"
EACH_MINUTE_SECONDS_MAX = 180.0
"""Two starts and the run itself: beyond this a CronJob of each minute has stopped."""
OTHER_SECONDS_MAX = 26 * 3600.0
RESTARTS_MAX = 5
APPLY = "run `make microk8s-deploy`"


def of_kind(objects: Iterable[Object], *kinds: str) -> list[Object]:
    """The objects of these kinds."""
    return [each for each in objects if each["kind"] in kinds]


def name(each: Object) -> str:
    """The name of an object."""
    return str(each["metadata"]["name"])


def label(each: Object) -> str:
    """What an object is part of: a role, a job or an engine."""
    return str(each["metadata"].get("labels", {}).get(NAME_LABEL, name(each)))


def check_workloads(objects: Sequence[Object], expected: Iterable[str]) -> list[Finding]:
    """Each role and engine has its workload, and all of its pods are ready and new."""
    workloads = {name(each): each for each in of_kind(objects, "Deployment", "StatefulSet")}
    found = []
    for wanted in expected:
        each = workloads.get(wanted)
        if each is None:
            found.append(fail("workloads", f"{wanted} is not deployed", APPLY))
            continue
        replicas, status = each["spec"].get("replicas", 1), each.get("status", {})
        ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
        if ready < replicas:
            sentence = f"{ready} of {replicas} pods of {wanted} are ready"
            found.append(
                fail("workloads", sentence, f"microk8s kubectl -n payflow describe pods -l {NAME_LABEL}={wanted}")
            )
        elif updated < replicas or status.get("observedGeneration", 0) < each["metadata"].get("generation", 0):
            found.append(fail("workloads", f"{wanted} is still being replaced", "wait, or read the events of its pods"))
    return passed_unless(found, "workloads", "every pod of every role and engine is ready")


def check_pods(objects: Sequence[Object]) -> list[Finding]:
    """No container waits, crashes or runs out of memory."""
    found = [finding for pod in of_kind(objects, "Pod") for finding in _pod_findings(pod)]
    return passed_unless(found, "pods", "no container waits, restarts often or ran out of memory")


def _pod_findings(pod: Object) -> Iterator[Finding]:
    advice = f"microk8s kubectl -n {pod['metadata'].get('namespace', 'payflow')} describe pod {name(pod)}"
    for condition in pod["status"].get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield fail("pods", f"{name(pod)} has no node: {condition.get('message', condition.get('reason'))}", advice)
    statuses = [*pod["status"].get("initContainerStatuses", []), *pod["status"].get("containerStatuses", [])]
    for status in statuses:
        waiting = status.get("state", {}).get("waiting", {}).get("reason")
        if waiting not in (None, "ContainerCreating", "PodInitializing"):
            yield fail("pods", f"{name(pod)} waits: {waiting}", advice)
        if status.get("lastState", {}).get("terminated", {}).get("reason") == "OOMKilled":
            yield warn("pods", f"{name(pod)} ran out of memory and was restarted", "raise its memory limit")
        elif status.get("restartCount", 0) > RESTARTS_MAX:
            yield warn("pods", f"{name(pod)} was restarted {status['restartCount']} times", advice)


def list_expected(manifests: Sequence[Object]) -> tuple[list[str], list[str]]:
    """The workloads of the manifests, and their CronJobs that run by themselves; a suspended one is run by hand."""
    workloads = [name(each) for each in of_kind(manifests, "Deployment", "StatefulSet")]
    cron_jobs = [name(each) for each in of_kind(manifests, "CronJob") if not each["spec"].get("suspend")]
    return workloads, cron_jobs


def check_jobs(objects: Sequence[Object], expected: Iterable[str]) -> list[Finding]:
    """Each job was applied and its newest run has completed."""
    found = []
    for job in expected:
        runs = sorted(
            (each for each in of_kind(objects, "Job") if label(each) == job),
            key=lambda each: str(each["metadata"].get("creationTimestamp", "")),
        )
        if not runs:
            found.append(fail("jobs", f"the Job {job} was never applied", APPLY))
        elif not runs[-1].get("status", {}).get("succeeded"):
            state = "has failed" if _has_condition(runs[-1], "Failed") else "has not completed"
            logs = f"microk8s kubectl -n payflow logs job/{name(runs[-1])}"
            found.append(fail("jobs", f"the Job {name(runs[-1])} {state}", logs))
    return passed_unless(found, "one-shot jobs", "every Job has completed")


def check_cron_jobs(objects: Sequence[Object], expected: Sequence[str], *, now: datetime) -> list[Finding]:
    """Each of these CronJobs was applied, is not suspended, and has succeeded recently. Others are run by hand."""
    cron_jobs = {name(each): each for each in of_kind(objects, "CronJob")}
    found = [
        fail("cron jobs", f"the CronJob {wanted} was never applied", APPLY)
        for wanted in expected
        if wanted not in cron_jobs
    ]
    for wanted in expected:
        if wanted in cron_jobs:
            found += _cron_job_findings(cron_jobs[wanted], now)
    return passed_unless(found, "cron jobs", f"succeeded recently: {', '.join(expected)}")


def _cron_job_findings(each: Object, now: datetime) -> Iterator[Finding]:
    seconds_max = EACH_MINUTE_SECONDS_MAX if each["spec"]["schedule"] == EACH_MINUTE else OTHER_SECONDS_MAX
    succeeded = each.get("status", {}).get("lastSuccessfulTime")
    age = (now - datetime.fromisoformat(each["metadata"]["creationTimestamp"])).total_seconds()
    logs = f"microk8s kubectl -n payflow get jobs,pods -l {NAME_LABEL}={label(each)}"
    if each["spec"].get("suspend"):
        patch = f'microk8s kubectl -n payflow patch cronjob {name(each)} -p \'{{"spec":{{"suspend":false}}}}\''
        yield fail("cron jobs", f"the CronJob {name(each)} is suspended", patch)
    elif succeeded is None and age <= seconds_max:
        yield warn("cron jobs", f"the CronJob {name(each)} is new and has not succeeded yet", "run the doctor again")
    elif succeeded is None:
        yield fail("cron jobs", f"the CronJob {name(each)} has never succeeded", logs)
    elif (now - datetime.fromisoformat(succeeded)).total_seconds() > seconds_max:
        yield fail("cron jobs", f"the last success of the CronJob {name(each)} was at {succeeded}", logs)


def check_storage(objects: Sequence[Object]) -> list[Finding]:
    """Each claim is bound, and its data stay when the claim is deleted."""
    classes = {name(each) for each in of_kind(objects, "StorageClass")}
    volumes = {name(each): each for each in of_kind(objects, "PersistentVolume")}
    claims = of_kind(objects, "PersistentVolumeClaim")
    unknown = {str(claim["spec"].get("storageClassName")) for claim in claims} - classes
    found = [fail("storage", f"the storage class {each} does not exist", APPLY) for each in sorted(unknown)]
    for claim in claims:
        if claim["spec"].get("storageClassName") in unknown:
            continue
        if claim.get("status", {}).get("phase") != "Bound":
            sentence = f"the claim {name(claim)} is {claim.get('status', {}).get('phase')}"
            found.append(fail("storage", sentence, f"microk8s kubectl -n payflow describe pvc {name(claim)}"))
        else:
            volume = volumes.get(claim["spec"].get("volumeName", ""), {"spec": {}})
            if volume["spec"].get("persistentVolumeReclaimPolicy") != "Retain":
                change = '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}'
                patch = f"microk8s kubectl patch pv {claim['spec'].get('volumeName')} -p '{change}'"
                found.append(warn("storage", f"the data of {name(claim)} are deleted with the claim", patch))
    return passed_unless(found, "storage", "every claim is bound, and its data are retained")


def check_storage_class(objects: Sequence[Object], wanted: str) -> list[Finding]:
    """The storage class exists and retains data, or will be made by the deployment."""
    for each in of_kind(objects, "StorageClass"):
        if name(each) == wanted:
            if each.get("reclaimPolicy") != "Retain":
                sentence = f"the storage class {wanted} has the reclaim policy {each.get('reclaimPolicy')}"
                return [warn("storage", sentence, f"delete the class, then {APPLY}: a class cannot be changed")]
            return [ok("storage", f"the storage class {wanted} retains data")]
    return [ok("storage", f"the storage class {wanted} does not exist yet: the deployment creates it")]


def check_dns(objects: Sequence[Object]) -> list[Finding]:
    """The cluster's DNS server runs."""
    servers = [each for each in of_kind(objects, "Deployment") if each["metadata"].get("namespace") == "kube-system"]
    ready = [each for each in servers if "dns" in name(each) and each.get("status", {}).get("readyReplicas", 0) > 0]
    if not ready:
        return [fail("dns", "no DNS server of the cluster is ready", "microk8s enable dns")]
    return [ok("dns", f"{', '.join(map(name, ready))} is ready")]


def check_ingress(objects: Sequence[Object]) -> list[Finding]:
    """The ingress class exists: an Ingress of an unknown class is accepted and serves nothing."""
    classes = {name(each) for each in of_kind(objects, "IngressClass")}
    found = [
        fail(
            "ingress",
            f"the ingress class {each['spec'].get('ingressClassName')} of {name(each)} does not exist"
            f" (there is {', '.join(sorted(classes)) or 'none'})",
            "microk8s enable ingress",
        )
        for each in of_kind(objects, "Ingress")
        if each["spec"].get("ingressClassName") not in classes
    ]
    if not of_kind(objects, "Ingress"):
        found.append(warn("ingress", "no Ingress publishes the gateway", APPLY))
    return passed_unless(found, "ingress", "the gateway is published by a class that exists")


def check_policies(objects: Sequence[Object]) -> list[Finding]:
    """Nothing is allowed by default, and the namespace refuses privileged pods."""
    found = []
    denies = [each["spec"] for each in of_kind(objects, "NetworkPolicy") if not each["spec"].get("podSelector")]
    if not any(set(spec.get("policyTypes", [])) == {"Ingress", "Egress"} and _allows_nothing(spec) for spec in denies):
        found.append(fail("policies", "no NetworkPolicy denies everything by default", APPLY))
    for namespace in of_kind(objects, "Namespace"):
        enforced = namespace["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce")
        if name(namespace) == "payflow" and enforced != "restricted":
            found.append(fail("policies", f"the namespace enforces Pod Security {enforced}, not restricted", APPLY))
    return passed_unless(found, "policies", "default deny, and Pod Security restricted")


def _allows_nothing(spec: Mapping[str, Any]) -> bool:
    return not spec.get("ingress") and not spec.get("egress")


def containers(objects: Sequence[Object]) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Name, container and pod specification of each workload."""
    for each in of_kind(objects, "Deployment", "StatefulSet", "CronJob", "Job"):
        if each["metadata"].get("namespace", "payflow") != "payflow" or "ownerReferences" in each["metadata"]:
            continue
        spec = each["spec"].get("jobTemplate", each)["spec"]["template"]["spec"]
        for container in spec["containers"]:
            yield name(each), container, spec


def images(objects: Sequence[Object]) -> dict[str, str]:
    """The image of each workload."""
    return {workload: container["image"] for workload, container, _ in containers(objects)}


def environments(objects: Sequence[Object]) -> dict[str, dict[str, str]]:
    """The variables of each workload; the value is empty where it comes from elsewhere."""
    return {
        workload: {entry["name"]: entry.get("value", "") for entry in container.get("env", [])}
        for workload, container, _ in containers(objects)
    }


def stopping(objects: Sequence[Object], roles: Iterable[str]) -> list[Stopping]:
    """How long the pods of each role may take to stop."""
    wanted = frozenset(roles)
    return [
        Stopping(
            workload,
            float(container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)),
            float(spec.get("terminationGracePeriodSeconds", 30)),
        )
        for workload, container, spec in containers(objects)
        if workload in wanted
    ]


def check_image_ids(objects: Sequence[Object], roles: Iterable[str]) -> list[Finding]:
    """Every pod of a role runs the same image, not only one of the same name."""
    wanted = frozenset(roles)
    ids: dict[str, list[str]] = {}
    for pod in of_kind(objects, "Pod"):
        for status in pod["status"].get("containerStatuses", []):
            if label(pod) in wanted and "running" in status.get("state", {}):
                ids.setdefault(status["imageID"].rpartition("@")[2], []).append(label(pod))
    if len(ids) > 1:
        text = "; ".join(f"{image[:19]}: {', '.join(sorted(set(names)))}" for image, names in sorted(ids.items()))
        return [fail("versions", f"the roles run {len(ids)} images: {text}", APPLY)]
    return [ok("versions", "all roles run the same image")]


def check_secrets(objects: Sequence[Object], existing: Iterable[str]) -> list[Finding]:
    """Every Secret that a workload mounts exists; `existing` are names, values are never read."""
    missing = {
        volume["secret"]["secretName"]
        for _, _, spec in containers(objects)
        for volume in spec.get("volumes", [])
        if "secret" in volume and not volume["secret"].get("optional")
    } - set(existing)
    if missing:
        return [fail("secrets", f"missing: {', '.join(sorted(missing))}", APPLY)]
    return [ok("secrets", "every Secret that a workload mounts exists")]


def replicas_max(objects: Sequence[Object]) -> dict[str, int]:
    """The largest number of pods of each workload, with the one more while it is replaced."""
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"]["maxReplicas"]
        for each in of_kind(objects, "HorizontalPodAutoscaler")
    }
    deployments = {
        name(each): scaled.get(name(each), each["spec"].get("replicas", 1)) + 1
        for each in of_kind(objects, "Deployment")
    }
    return deployments | {name(each): 2 for each in of_kind(objects, "CronJob")}


def _has_condition(each: Object, kind: str) -> bool:
    conditions = each.get("status", {}).get("conditions", [])
    return any(condition["type"] == kind and condition["status"] == "True" for condition in conditions)


def reversal_after(objects: Sequence[Object], default: float) -> float:
    """The age at which transfers expire, as the transaction service is configured."""
    return float(environments(objects).get("transaction", {}).get("PAYFLOW_REVERSAL_AFTER_SECONDS", default))
