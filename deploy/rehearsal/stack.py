"""The deployment of a rehearsal: the make targets of this repository, with podman's socket in place of Docker's."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from deploy import programs
from deploy.compose.project import OVERRIDE, Project
from deploy.compose.up import FAILED_LOG
from deploy.image import lock
from deploy.programs import DeployError
from deploy.rehearsal import images, podman
from deploy.rehearsal.workspace import Workspace

PROJECT = "payflow-rehearsal"
LABEL = f"com.docker.compose.project={PROJECT}"
TARGET_SECONDS_MAX = 900.0
READY_SECONDS_MAX = 180.0
POLL_SECONDS = 1.0


class Stack:
    """The Compose project of one run."""

    def __init__(self, workspace: Workspace) -> None:
        """Use the folder of the run for secrets and configuration."""
        self._workspace = workspace
        self._environment = {
            **workspace.environment(),
            "COMPOSE_PROJECT_NAME": PROJECT,
            "DOCKER_HOST": podman.ADDRESS,
            "PAYFLOW_DEPLOY": str(workspace.run),
            "PAYFLOW_IMAGE": images.PAYFLOW,
        }
        self._project = Project(self._environment, profiles=["demo"])

    def use_standins(self) -> list[str]:
        """Name images by tag where the Compose file names them by digest: a stand-in cannot have it. Returns the services."""
        tags = {image.reference: image.tagged for image in lock.read().values() if image.digest}
        services = self._project.config["services"]
        changed = {name: {"image": tags[it["image"]]} for name, it in services.items() if it["image"] in tags}
        if changed:
            (self._workspace.run / OVERRIDE).write_text(json.dumps({"services": changed}))
        return sorted(changed)

    def networks(self) -> dict[str, list[str]]:
        """The names that podman has for the networks of each service."""
        config = self._project.config
        names = {name: network["name"] for name, network in config["networks"].items()}
        return {service: [names[it] for it in settings["networks"]] for service, settings in config["services"].items()}

    def make(self, target: str, *variables: str, environment: Mapping[str, str] | None = None) -> str:
        """Run a target as a user does; returns its last line. All of its output goes to the log.

        Raises:
            DeployError: it failed, with its line of error.
        """
        command = ["make", "--no-print-directory", target, *variables]
        with self._workspace.log.open("ab") as log:
            start = log.tell()
            try:
                done = subprocess.run(
                    command,
                    cwd=lock.REPOSITORY,
                    env={**self._environment, **(environment or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    check=False,
                    timeout=TARGET_SECONDS_MAX,
                )
            except subprocess.TimeoutExpired:
                raise DeployError(f"make {target} was not done after {TARGET_SECONDS_MAX:g} s") from None
        lines = self._workspace.log.read_bytes()[start:].decode(errors="replace").splitlines()
        if done.returncode != 0:
            raise DeployError(f"make {target} failed: {self._keep_logs(error_line(lines))}")
        return programs.last_line("\n".join(lines))

    def _keep_logs(self, line: str) -> str:
        """Add the logs of a failed start to that of the rehearsal: their own file is removed with the run."""
        path = self._workspace.run / FAILED_LOG
        if path.exists():
            with self._workspace.log.open("ab") as log:
                log.write(path.read_bytes())
        return line.replace(str(path), str(self._workspace.log))

    def containers(self) -> list[dict[str, Any]]:
        """What `docker inspect` shows of each container."""
        filters = quote(json.dumps({"label": [LABEL]}))
        found = podman.get(f"/v1.41/containers/json?all=1&filters={filters}")
        return [podman.get(f"/v1.41/containers/{it['Id']}/json") for it in found]

    def kill(self, service: str) -> None:
        """Kill all containers of a service, as a crash would."""
        self._project.output("kill", "--signal=SIGKILL", service, what=f"killing {service}")

    def start(self, service: str) -> None:
        """Start them again, and wait until they are healthy.

        Raises:
            DeployError: they are not in time.
        """
        self._project.output("start", service, what=f"starting {service}")
        end = time.monotonic() + READY_SECONDS_MAX
        while not all(it.is_done for it in self._project.containers()):
            if time.monotonic() > end:
                raise DeployError(f"not healthy {READY_SECONDS_MAX:g} s after the start of {service}")
            time.sleep(POLL_SECONDS)

    def remains(self) -> list[str]:
        """The containers, volumes and networks that podman still has."""
        return [
            *(f"container {it['Names'][0]}" for it in podman.get("/v4.0.0/libpod/containers/json?all=true")),
            *(f"volume {it['Name']}" for it in podman.get("/v4.0.0/libpod/volumes/json")),
            *(f"network {it['name']}" for it in podman.get("/v4.0.0/libpod/networks/json") if it["name"] != "podman"),
        ]


def error_line(lines: list[str]) -> str:
    """The line in which a target says why it failed; the last line is only that of make."""
    said = [line for line in lines if line.startswith("payflow: ")]
    others = [line for line in lines if line.strip() and not line.startswith("make: ")]
    return (said or others or ["no output"])[-1].removeprefix("payflow: ")
