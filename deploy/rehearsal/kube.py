"""The Deployments of deploy/k8s, played one at a time by podman beside the Compose project, whose engines they use.

Arguments, environment, user, read-only root, capabilities, limits and Secrets are those of the manifests. podman has no Services,
probes or policies, so a pod counts as good when its role reports that it is ready.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from deploy import programs
from deploy.image import lock
from deploy.programs import DeployError
from deploy.rehearsal import images
from deploy.rehearsal.workspace import Workspace

BASE = lock.REPOSITORY / "deploy" / "k8s" / "base"
READY_SECONDS_MAX = 90.0
POLL_SECONDS = 0.5
PODMAN_SECONDS_MAX = 120.0
LEFT_OUT = ("ports", "startupProbe", "livenessProbe", "readinessProbe")
"""Podman 4.3 would publish each port on the machine, where Compose already has that of the gateway, and runs no probes."""

READY = "import urllib.request as u; u.urlopen('http://127.0.0.1:9100/readyz', timeout=5)"


def deployments() -> dict[str, dict[str, Any]]:
    """The Deployments of the base, by name."""
    kubectl = programs.find("kubectl", hint="run make engines")
    text = programs.output([kubectl, "kustomize", str(BASE)], what="kubectl kustomize")
    documents = [document for document in yaml.safe_load_all(text) if document["kind"] == "Deployment"]
    return {document["metadata"]["name"]: document for document in documents}


def manifest(deployment: Mapping[str, Any]) -> str:
    """One pod of the Deployment in the image of this run.

    The volumes are named after the role: podman keeps a volume under its name, and each role has one called `secrets`.
    """
    name = deployment["metadata"]["name"]
    one = yaml.safe_load(yaml.safe_dump(dict(deployment)))
    one["spec"]["replicas"] = 1
    pod = one["spec"]["template"]["spec"]
    for container in pod["containers"]:
        container["image"] = images.PAYFLOW
        for field in LEFT_OUT:
            container.pop(field, None)
    for each in (*pod["volumes"], *(mount for container in pod["containers"] for mount in container["volumeMounts"])):
        each["name"] = f"{name}-{each['name']}"
        if "secret" in each:
            each["secret"]["optional"] = False  # the default, but podman 4.3 needs to read it
    return yaml.safe_dump(one)


def secret(name: str, secrets: Path) -> str:
    """The Secret of a role as podman 4.3 stores it: it decodes no base64 when it makes the volume."""
    files = {path.name: path.read_text() for path in sorted((secrets / name).iterdir())}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "Secret", "data": files})


def play(workspace: Workspace, networks: Mapping[str, list[str]]) -> list[str]:
    """Play each Deployment until it is ready, and remove it again; returns their names.

    Raises:
        DeployError: a Deployment could not be played, or did not become ready.
    """
    played = deployments()
    for name, deployment in played.items():
        path = workspace.run / f"{name}.yaml"
        path.write_text(manifest(deployment))
        path.with_suffix(".secret").write_text(secret(name, workspace.run / "secrets"))
        with _playing(workspace, path, networks[name]):
            _wait_until_ready(workspace, name)
    return sorted(played)


@contextmanager
def _playing(workspace: Workspace, path: Path, networks: list[str]) -> Iterator[None]:
    name = f"{path.stem}-secrets"
    clean_up = (["kube", "down", str(path)], ["volume", "rm", name], ["secret", "rm", name])
    try:
        _podman(workspace, "secret", "create", name, str(path.with_suffix(".secret")))
        _podman(workspace, "kube", "play", *(f"--network={network}" for network in networks), str(path))
        yield
    except BaseException:
        for command in clean_up:
            with suppress(DeployError):
                _podman(workspace, *command)
        raise
    for command in clean_up:
        _podman(workspace, *command)


def _wait_until_ready(workspace: Workspace, name: str) -> None:
    container = f"{name}-pod-0-payflow"
    end = time.monotonic() + READY_SECONDS_MAX
    while True:
        try:
            _podman(workspace, "exec", container, "python", "-c", READY)
        except DeployError:
            if time.monotonic() > end:
                logged = _podman(workspace, "logs", "--tail=5", container)
                raise DeployError(f"the Deployment {name} is not ready: {programs.last_line(logged)}") from None
            time.sleep(POLL_SECONDS)
        else:
            return


def _podman(workspace: Workspace, *arguments: str) -> str:
    return programs.output(
        ["podman", *arguments],
        what=f"podman {' '.join(arguments[:2])}",
        environment=workspace.environment(with_cgroups=True),
        seconds_max=PODMAN_SECONDS_MAX,
    )
