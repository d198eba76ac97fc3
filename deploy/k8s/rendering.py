"""Renders the manifests of one deployment: overlay, Secrets, Jobs, image and components, joined by kustomize."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.k8s.cluster import NAMESPACE
from deploy.k8s.site import Site
from deploy.local import files
from deploy.programs import ENVIRONMENT_PROGRAMS, DeployError, last_line

K8S = Path(__file__).parent
OVERLAY = K8S / "overlays" / "microk8s"
JOBS = K8S / "jobs"
COMPONENTS = K8S / "components"
KUSTOMIZATION = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
WITH_LINKS = ("gateway", "notification-deliver")
"""The roles that write the public address into links."""

TAG_LENGTH_MAX = 18
HASH_LENGTH = 8
_REFERENCE = re.compile(r"(?P<name>[^@]+?)(:(?P<tag>[\w][\w.-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?")

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Image:
    """An image of the roles in a registry."""

    name: str
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, reference: str) -> Image:
        """Read `registry/name:tag@digest`; tag or digest may be missing, not both.

        Raises:
            DeployError: it is not such a reference.
        """
        match = _REFERENCE.fullmatch(reference)
        if match is None or not (match["tag"] or match["digest"]):
            raise DeployError(f"PAYFLOW_IMAGE={reference} is no image with a tag or a digest")
        return cls(match["name"], match["tag"], match["digest"])

    @property
    def label(self) -> str:
        """A short form of the tag, or else of the digest, for names of Jobs."""
        text = self.tag or (self.digest or "").removeprefix("sha256:")[:12]
        return re.sub(r"[^a-z0-9-]+", "-", text.lower())[:TAG_LENGTH_MAX].strip("-") or "untagged"

    @property
    def entry(self) -> Resource:
        """For `images` of a kustomization."""
        version = {"digest": self.digest} if self.digest else {"newTag": self.tag}
        return {"name": "payflow", "newName": self.name, **version}


def write(folder: Path, image: Image, *, site: Site, components: Sequence[str]) -> None:
    """Write the kustomizations below `folder`. The Secrets are in `folder`/secrets already."""
    _write(folder / "jobs", {"resources": [_path(folder / "jobs", JOBS)], "nameSuffix": f"-{image.label}"})
    _write(
        folder / "site",
        {"resources": [_path(folder / "site", OVERLAY)], "patches": list(_patches(site)) if site.host else []},
    )
    used = [*components, *(["tls"] if site.tls else [])]
    _write(
        folder,
        {
            "namespace": NAMESPACE,
            "resources": ["site", "jobs", "secrets"],
            "components": [_path(folder, COMPONENTS / component) for component in used],
            "images": [image.entry],
        },
    )


def build(folder: Path) -> list[Resource]:
    """The resources of a deployment: Secrets that no pod mounts are left out, and Jobs are named by what they run.

    Raises:
        DeployError: kustomize refuses them.
    """
    kubectl = ENVIRONMENT_PROGRAMS / "kubectl"
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DeployError(f"the manifests do not build: {last_line(done.stderr)}")
    resources: list[Resource] = list(yaml.load_all(done.stdout, yaml.CSafeLoader))
    return [name_job(resource) for resource in _without_unused_secrets(resources)]


def name_job(resource: Resource) -> Resource:
    """Name a Job by what it runs: a finished one cannot be changed, so with another image, script or Secret it is another Job."""
    if resource["kind"] != "Job":
        return resource
    digest = hashlib.sha256(json.dumps(resource["spec"], sort_keys=True).encode()).hexdigest()[:HASH_LENGTH]
    return {**resource, "metadata": {**resource["metadata"], "name": f"{resource['metadata']['name']}-{digest}"}}


def _without_unused_secrets(resources: Iterable[Resource]) -> list[Resource]:
    resources = list(resources)
    used = set(_strings([resource for resource in resources if resource["kind"] != "Secret"]))
    return [each for each in resources if each["kind"] != "Secret" or each["metadata"]["name"] in used]


def _strings(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def _patches(site: Site) -> Iterable[Resource]:
    host = [{"op": "add", "path": "/spec/rules/0/host", "value": site.host}]
    yield {"target": {"kind": "Ingress", "name": "gateway"}, "patch": json.dumps(host)}
    variable = {"name": "PAYFLOW_PUBLIC_URL", "value": site.url}
    for role in WITH_LINKS:
        added = [{"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": variable}]
        yield {"target": {"kind": "Deployment", "name": role}, "patch": json.dumps(added)}


def _write(folder: Path, content: Resource) -> None:
    files.make_folder(folder)
    text = yaml.safe_dump({**KUSTOMIZATION, **{key: value for key, value in content.items() if value}}, sort_keys=False)
    files.write_atomically(folder / "kustomization.yaml", text, durable=False)


def _path(start: Path, target: Path) -> str:
    """A relative path: kustomize takes no absolute one."""
    return os.path.relpath(target.resolve(), start.resolve())
