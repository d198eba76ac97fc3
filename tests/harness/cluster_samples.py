"""A deployment on MicroK8s as `kubectl get -o json` shows it: the real manifests, with the status fields of the Kubernetes API.

No cluster was recorded: there is none here. The fields are those of the API reference (apps/v1, batch/v1, core/v1).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from deploy import programs
from deploy.doctor.targets import microk8s
from deploy.local.home import REPOSITORY

Object = dict[str, Any]

IMAGE_ID = "localhost:32000/payflow@sha256:" + "1a" * 32
STATUS = """\
microk8s:
  running: True
high-availability:
  enabled: False
addons:
  - name: dns
    description: CoreDNS
    version: 1.12.1
    status: enabled
  - name: ha-cluster
    description: Configure high availability on the current node
    version: 1.0.0
    status: enabled
  - name: hostpath-storage
    description: Storage class; allocates storage from host directory
    version: 1.5.0
    status: enabled
  - name: ingress
    description: Ingress controller for external access
    version: 1.0.0
    status: enabled
  - name: registry
    description: Private image registry exposed on localhost:32000
    version: 2.8.3
    status: enabled
  - name: keda
    description: Kubernetes-based: Event Driven Autoscaling
    version: 2.12.0
    status: disabled
"""
"""As scripts/wrappers/status.py of MicroK8s prints it. One description is not valid YAML, on purpose."""


@cache
def _built() -> tuple[str, str]:
    """Overlay and Jobs, as JSON: each test changes its own copy."""
    kubectl = programs.find("kubectl", hint="make engines")
    jobs = programs.output(
        [kubectl, "kustomize", str(REPOSITORY / "deploy" / "k8s" / "jobs")], what="kubectl kustomize"
    )
    return json.dumps(microk8s.build()), json.dumps(microk8s.parse(jobs))


def manifests() -> list[Object]:
    """The objects of the overlay, as they are deployed."""
    found: list[Object] = json.loads(_built()[0])
    return found


def objects(now: datetime) -> list[Object]:
    """All objects of a deployment that is well at this time."""
    made: list[Object] = []
    for each in [*manifests(), *json.loads(_built()[1])]:
        each["metadata"] |= {"creationTimestamp": _time(now - timedelta(days=1)), "generation": 2}
        complete = COMPLETE.get(each["kind"])
        made += complete(each, now) if complete else [each]
    return made + shared()


def shared() -> list[Object]:
    """What the cluster itself has: a node, and the classes of the add-ons."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "laptop"},
            "status": {
                "allocatable": {"cpu": "8", "memory": "32761136Ki", "pods": "110"},
                "conditions": [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "False"}],
            },
        },
        {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "public"}},
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "microk8s-hostpath"},
            "provisioner": "microk8s.io/hostpath",
            "reclaimPolicy": "Delete",
        },
    ]


def dns(ready: int = 1) -> Object:
    """The DNS server of the cluster."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "coredns", "namespace": "kube-system", "generation": 1},
        "spec": {"replicas": 1, "selector": {}, "template": {"spec": {"containers": []}}},
        "status": {"readyReplicas": ready, "updatedReplicas": 1, "observedGeneration": 1},
    }


def _workload(each: Object, _now: datetime) -> list[Object]:
    replicas = each["spec"].get("replicas", 1)
    counts = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas"), replicas)
    each["status"] = counts | {"observedGeneration": 2}
    pods = [_pod(each, f"{each['metadata']['name']}-{number}") for number in range(replicas)]
    return [each, *pods, *_volumes(each)]


def _pod(owner: Object, name: str) -> Object:
    template = owner["spec"]["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "payflow", "labels": template["metadata"]["labels"]},
        "spec": template["spec"],
        "status": {
            "phase": "Running",
            "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": IMAGE_ID,
                    "ready": True,
                    "restartCount": 0,
                    "state": {"running": {"startedAt": "2026-11-30T00:00:00Z"}},
                    "lastState": {},
                }
                for container in template["spec"]["containers"]
            ],
        },
    }


def _volumes(owner: Object) -> list[Object]:
    found: list[Object] = []
    for template in owner["spec"].get("volumeClaimTemplates", []):
        name = f"{template['metadata']['name']}-{owner['metadata']['name']}-0"
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": "payflow"},
            "spec": template["spec"],
        }
        found += _claim(claim, datetime.now(UTC))
    return found


def _claim(each: Object, _now: datetime) -> list[Object]:
    volume = f"pvc-{each['metadata']['name']}"
    each["spec"]["volumeName"] = volume
    each["status"] = {"phase": "Bound"}
    return [
        each,
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume},
            "spec": {"persistentVolumeReclaimPolicy": "Retain"},
            "status": {"phase": "Bound"},
        },
    ]


def _job(each: Object, _now: datetime) -> list[Object]:
    each["status"] = {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}
    return [each]


def _cron_job(each: Object, now: datetime) -> list[Object]:
    each["status"] = {
        "lastScheduleTime": _time(now - timedelta(seconds=20)),
        "lastSuccessfulTime": _time(now - timedelta(seconds=15)),
    }
    return [each]


COMPLETE: dict[str, Callable[[Object, datetime], list[Object]]] = {
    "Deployment": _workload,
    "StatefulSet": _workload,
    "Job": _job,
    "CronJob": _cron_job,
    "PersistentVolumeClaim": _claim,
}


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
