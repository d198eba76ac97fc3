"""A small stand-in for the API server of a cluster, for the real kubectl: it stores what is applied and plays the controllers.

It knows the kinds of the manifests, server-side apply, dry runs, lists with label selectors, and deletion. It validates nothing:
the schemas do that in `schemas.py`. Jobs are complete and workloads ready at once, unless the test says otherwise.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

Resource = dict[str, Any]

KINDS: dict[str, list[tuple[str, str, bool]]] = {
    "v1": [
        ("namespaces", "Namespace", False),
        ("configmaps", "ConfigMap", True),
        ("secrets", "Secret", True),
        ("services", "Service", True),
        ("pods", "Pod", True),
        ("persistentvolumeclaims", "PersistentVolumeClaim", True),
        ("persistentvolumes", "PersistentVolume", False),
        ("nodes", "Node", False),
        ("resourcequotas", "ResourceQuota", True),
    ],
    "apps/v1": [("deployments", "Deployment", True), ("statefulsets", "StatefulSet", True)],
    "autoscaling/v2": [("horizontalpodautoscalers", "HorizontalPodAutoscaler", True)],
    "batch/v1": [("jobs", "Job", True), ("cronjobs", "CronJob", True)],
    "networking.k8s.io/v1": [
        ("ingresses", "Ingress", True),
        ("ingressclasses", "IngressClass", False),
        ("networkpolicies", "NetworkPolicy", True),
    ],
    "policy/v1": [("poddisruptionbudgets", "PodDisruptionBudget", True)],
    "storage.k8s.io/v1": [("storageclasses", "StorageClass", False)],
    "apiextensions.k8s.io/v1": [("customresourcedefinitions", "CustomResourceDefinition", False)],
}
VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]
GROUP_VERSION_KIND = "x-kubernetes-group-version-kind"
NOT_FOUND = 404
UNPROCESSABLE = 422


@dataclass(slots=True)
class Cluster:
    """What is in the cluster, and what has been requested of it."""

    minor: str = "34"
    stored: dict[tuple[str, str], Resource] = field(default_factory=dict)
    """By plural and name."""
    applied: list[tuple[str, str]] = field(default_factory=list)
    """Kind and name, in order, without dry runs."""
    tried: list[tuple[str, str]] = field(default_factory=list)
    """The same of dry runs."""
    deleted: list[tuple[str, str]] = field(default_factory=list)
    refused: frozenset[str] = frozenset()
    """Names that the server refuses to apply."""
    violating: frozenset[str] = frozenset()
    """Names of workloads whose pods the namespace would refuse."""
    failing_jobs: frozenset[str] = frozenset()
    """Starts of the names of Jobs that fail."""

    def add(self, plural: str, kind: str, name: str, namespace: str | None = None) -> None:
        """Put a resource into the cluster."""
        metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
        self.stored[plural, name] = {"kind": kind, "apiVersion": _version_of(plural), "metadata": metadata}

    def apply(self, plural: str, resource: Resource, *, is_trial: bool) -> Resource | None:
        """Store a resource; None if it is refused."""
        kind, name = resource["kind"], resource["metadata"]["name"]
        if name in self.refused:
            return None
        (self.tried if is_trial else self.applied).append((kind, name))
        if not is_trial:
            before = self.stored.get((plural, name), {})
            # A Job that has ended stays as it is: applying it again starts nothing.
            status = before.get("status") if kind == "Job" else None
            self.stored[plural, name] = resource | {"status": status or self._status(resource)}
        return resource

    def _status(self, resource: Resource) -> Resource:
        if resource["kind"] == "Job":
            failed = resource["metadata"]["name"].startswith(tuple(self.failing_jobs)) if self.failing_jobs else False
            return {"conditions": [{"type": "Failed" if failed else "Complete", "status": "True"}]}
        count = resource.get("spec", {}).get("replicas", 1)
        return {"observedGeneration": 1, "replicas": count, "updatedReplicas": count, "readyReplicas": count}


@contextmanager
def running(cluster: Cluster) -> Iterator[str]:
    """Serve the cluster on a free port of the loopback; yields its address."""

    class Handler(_Handler):
        state = cluster

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def write_kubeconfig(path: Path, address: str, *, context: str) -> None:
    """Write a kubeconfig with one context for the server."""
    configuration = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{"name": context, "cluster": {"server": address}}],
        "users": [{"name": context, "user": {}}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
    }
    path.write_text(yaml.safe_dump(configuration))


class _Handler(BaseHTTPRequestHandler):
    state: Cluster
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_arguments: object) -> None:
        """Print nothing."""

    def do_GET(self) -> None:
        path, query = self._path()
        document = self._discovery(path)
        if document is None:
            document = self._list(path, query)
        if document is None:
            self._send({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound"}, NOT_FOUND)
        else:
            self._send(document)

    def do_PATCH(self) -> None:
        path, query = self._path()
        resource = yaml.safe_load(self.rfile.read(int(self.headers["Content-Length"])))
        applied = self.state.apply(path[-2], resource, is_trial="dryRun" in query)
        if applied is None:
            reason = {
                "reason": "Invalid",
                "message": f"{resource['metadata']['name']} is invalid",
                "code": UNPROCESSABLE,
            }
            self._send({"kind": "Status", "apiVersion": "v1", "status": "Failure", **reason}, UNPROCESSABLE)
        else:
            violates = resource["metadata"]["name"] in self.state.violating
            self._send(
                applied, warning='would violate PodSecurity "restricted:latest": privileged' if violates else None
            )

    def do_DELETE(self) -> None:
        path, _ = self._path()
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path[-1] in _PLURALS:
            for plural, name in [key for key in self.state.stored if key[0] == path[-1]]:
                self._delete(plural, name)
        else:
            self._delete(path[-2], path[-1])
        self._send({"kind": "Status", "apiVersion": "v1", "status": "Success"})

    def _delete(self, plural: str, name: str) -> None:
        self.state.stored.pop((plural, name), None)
        self.state.deleted.append((plural, name))

    def _path(self) -> tuple[list[str], dict[str, list[str]]]:
        parts = urlsplit(self.path)
        return parts.path.strip("/").split("/"), parse_qs(parts.query)

    def _discovery(self, path: list[str]) -> Resource | None:
        fixed: dict[tuple[str, ...], Resource] = {
            ("version",): {"major": "1", "minor": self.state.minor, "gitVersion": f"v1.{self.state.minor}.0"},
            ("api",): {"kind": "APIVersions", "versions": ["v1"]},
            ("apis",): {
                "kind": "APIGroupList",
                "apiVersion": "v1",
                "groups": [_group(name) for name in KINDS if "/" in name],
            },
            ("openapi", "v3"): {
                "paths": {_api_path(name): {"serverRelativeURL": f"/openapi/v3/{_api_path(name)}"} for name in KINDS}
            },
        }
        if tuple(path) in fixed:
            return fixed[tuple(path)]
        if path[:2] == ["openapi", "v3"]:
            return _openapi("/".join(path[3:]))
        version = "/".join(path[1:])
        return _resources(version) if version in KINDS else None

    def _list(self, path: list[str], query: dict[str, list[str]]) -> Resource | None:
        if path[-1] in _PLURALS:
            found = [resource for (plural, _), resource in self.state.stored.items() if plural == path[-1]]
            if "namespaces" in path[:-1]:
                found = [
                    each for each in found if each["metadata"].get("namespace") == path[path.index("namespaces") + 1]
                ]
            for selector in query.get("labelSelector", []):
                wanted = dict(part.split("=") for part in selector.split(","))
                found = [each for each in found if wanted.items() <= each["metadata"].get("labels", {}).items()]
            for selector in query.get("fieldSelector", []):
                found = [each for each in found if each["metadata"]["name"] == selector.partition("=")[2]]
            kind, version = _PLURALS[path[-1]]
            return {"kind": f"{kind}List", "apiVersion": version, "metadata": {}, "items": found}
        return self.state.stored.get((path[-2], path[-1])) if len(path) > 1 else None

    def _send(self, document: Resource, status: int = 200, *, warning: str | None = None) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if warning is not None:
            self.send_header("Warning", f"299 - {json.dumps(warning)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


_PLURALS = {plural: (kind, version) for version, kinds in KINDS.items() for plural, kind, _ in kinds}


def _version_of(plural: str) -> str:
    return _PLURALS[plural][1]


def _api_path(version: str) -> str:
    return f"apis/{version}" if "/" in version else f"api/{version}"


def _group(name: str) -> Resource:
    version = {"groupVersion": name, "version": name.partition("/")[2]}
    return {"name": name.partition("/")[0], "versions": [version], "preferredVersion": version}


def _resources(version: str) -> Resource:
    listed = [
        {"name": plural, "singularName": kind.lower(), "kind": kind, "namespaced": namespaced, "verbs": VERBS}
        for plural, kind, namespaced in KINDS[version]
    ]
    return {"kind": "APIResourceList", "groupVersion": version, "resources": listed}


def _openapi(version: str) -> Resource:
    """What kubectl looks for: that the server itself finds unknown fields."""
    group, _, number = version.rpartition("/")
    paths = {
        f"/{_api_path(version)}/{plural}/{{name}}": {
            "patch": {
                "parameters": [{"name": "fieldValidation", "in": "query"}, {"name": "dryRun", "in": "query"}],
                GROUP_VERSION_KIND: {"group": group, "version": number, "kind": kind},
            }
        }
        for plural, kind, _ in KINDS.get(version, [])
    }
    return {"openapi": "3.0.0", "info": {"title": "stand-in", "version": "1"}, "paths": paths}
