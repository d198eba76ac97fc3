"""The Compose project: finds Docker Compose and runs its commands; every error is one line."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from deploy import programs
from deploy.programs import DeployError
from deploy.secrets import files as secrets

FILE = Path(__file__).with_name("compose.yaml")
OVERRIDE = "override.yaml"
"""A Compose file of the operator beside secrets.json: more replicas, other limits."""

SETTINGS = "settings.env"
"""Settings of the operator beside secrets.json, one `PAYFLOW_NAME=value` a line."""

NAME = "payflow"
VERSION_MIN = (2, 24)
SOCKET = Path("/var/run/docker.sock")
INSTALL = "install Docker Engine with its Compose plugin (https://docs.docker.com/engine/install)"
PROFILES = ("demo", "monitoring", "backup")
"""What `make compose-up` starts only if a variable of that name, in capitals, is 1."""

SECONDS_MAX = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container of the project."""

    service: str
    state: str
    health: str
    exit_code: int
    is_job: bool
    """Whether it must end, instead of running on."""

    @property
    def is_failed(self) -> bool:
        """Whether it ended with an error, or its health check fails."""
        ended = self.state in {"exited", "dead"} and self.exit_code != 0
        return ended or self.state == "restarting" or self.health == "unhealthy"

    @property
    def is_done(self) -> bool:
        """Whether it is healthy, or is a job that has ended without an error."""
        if self.is_job:
            return self.state == "exited" and self.exit_code == 0
        return self.state == "running" and self.health in {"", "healthy"}


class Project:
    """The containers, networks and volumes of one deployment."""

    def __init__(self, caller: Mapping[str, str], *, profiles: Sequence[str] = ()) -> None:
        """Find Docker Compose.

        Raises:
            DeployError: there is none.
        """
        self.folder = Path(caller.get("PAYFLOW_DEPLOY") or secrets.target_folder("compose")).absolute()
        self.name = caller.get("COMPOSE_PROJECT_NAME") or NAME
        self.docker = shutil.which("docker", path=caller.get("PATH"))
        self.program = find_compose(self.docker, caller)
        self._profiles = list(profiles)
        # A shell that is set up for the local stack must not switch on the simulated failures here.
        self._environment = {
            **caller,
            "PAYFLOW_DEPLOY": str(self.folder),
            "PAYFLOW_DEMO": "1" if "demo" in profiles else "0",
        }

    @property
    def shown(self) -> str:
        """How the user calls Compose for this project."""
        program = "docker compose" if self.program[1:] else self.program[0]
        return f"{program} --project-name {self.name}"

    def use(self, **variables: str) -> None:
        """Set variables of the Compose file."""
        self._environment |= variables

    def require_engine(self) -> None:
        """Raises DeployError: the engine does not respond."""
        try:
            self.output("ls", "--quiet", what="docker compose ls", plain=True)
        except DeployError as error:
            reason = str(error).partition(": ")[2]
            raise DeployError(f"no connection to Docker: start it, or get permission to use it ({reason})") from None

    @cached_property
    def config(self) -> dict[str, Any]:
        """The project as Compose reads it, with the profiles in use."""
        text = self.output("config", "--format", "json", what="docker compose config")
        return json.loads(text)  # type: ignore[no-any-return]

    def containers(self) -> list[Container]:
        """The containers of the profiles in use, also those that have ended."""
        documents = _documents(self.output("ps", "--all", "--format", "json", what="docker compose ps"))
        services = self.config["services"]
        return [_container(it, services[it["Service"]]) for it in documents if it["Service"] in services]

    def published_ports(self) -> set[int]:
        """The ports of this machine that containers of the project publish."""
        text = self.output("ps", "--format", "json", what="docker compose ps")
        publishers = (publisher for document in _documents(text) for publisher in document.get("Publishers") or ())
        return {publisher["PublishedPort"] for publisher in publishers}

    def volumes(self) -> list[str]:
        """The names of the project's volumes."""
        if self.docker is None:
            return self.output("volumes", "--quiet", what="docker compose volumes").split()
        label = f"label=com.docker.compose.project={self.name}"
        command = [self.docker, "volume", "ls", "--quiet", "--filter", label]
        return self._run(command, what="docker volume ls").split()

    def missing_volumes(self) -> list[str]:
        """The names of the volumes that must exist before Compose starts anything, and do not."""
        volumes = (self.config.get("volumes") or {}).values()
        wanted = sorted(volume["name"] for volume in volumes if volume.get("external"))
        if not wanted or self.docker is None:
            return []
        existing = self._run([self.docker, "volume", "ls", "--quiet"], what="docker volume ls").split()
        return [name for name in wanted if name not in existing]

    def last_log_line(self, service: str) -> str:
        """The last line that a service has logged."""
        command = ("logs", "--no-color", "--no-log-prefix", "--tail", "20", service)
        return programs.last_line(self.output(*command, what="docker compose logs"))

    def output(self, *arguments: str, what: str, plain: bool = False) -> str:
        """The output of a Compose command; `plain` without the project's files.

        Raises:
            DeployError: it failed.
        """
        command = [*self.program, *arguments] if plain else self.command(*arguments)
        return self._run(command, what=what)

    def follow(self, *arguments: str) -> str | None:
        """Run a Compose command and print what it does; returns its last line if it failed."""
        command = self.command("--progress", "plain", *arguments)
        last = ""
        with subprocess.Popen(
            command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as child:
            for line in child.stdout or ():
                print(line, end="", flush=True)
                last = line.strip() or last
        return None if child.returncode == 0 else last or f"exit code {child.returncode}"

    def command(self, *arguments: str) -> list[str]:
        """A Compose command for this project."""
        paths = [FILE, *[self.folder / OVERRIDE] * (self.folder / OVERRIDE).exists()]
        command = [*self.program, "--project-name", self.name]
        command += [part for path in paths for part in ("--file", str(path))]
        if (self.folder / SETTINGS).exists():
            command += ["--env-file", str(self.folder / SETTINGS)]
        return [*command, *(part for profile in self._profiles for part in ("--profile", profile)), *arguments]

    def _run(self, command: Sequence[str], *, what: str) -> str:
        return programs.output(command, what=what, environment=self._environment, seconds_max=SECONDS_MAX)


def find_compose(docker: str | None, caller: Mapping[str, str]) -> list[str]:
    """Docker's plugin, or the program of the project's environment, which needs an engine but not the command `docker`.

    Raises:
        DeployError: there is neither Docker nor the address of an engine.
    """
    if docker is None and not caller.get("DOCKER_HOST") and not SOCKET.exists():
        raise DeployError(f"Docker is not installed: {INSTALL}")
    if docker is not None and _plugin_version(docker) >= VERSION_MIN:
        return [docker, "compose"]
    return [programs.find("docker-compose", hint=INSTALL)]


def _plugin_version(docker: str) -> tuple[int, ...]:
    command = [docker, "compose", "version", "--short"]
    try:
        text = programs.output(command, what="docker compose version", seconds_max=20.0)
    except DeployError:
        return ()
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def _documents(text: str) -> list[dict[str, Any]]:
    """What `--format json` prints: one document a line, or all of them in a list in older versions."""
    if text.lstrip().startswith("["):
        return json.loads(text)  # type: ignore[no-any-return]
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _container(document: Mapping[str, Any], service: Mapping[str, Any]) -> Container:
    return Container(
        service=document["Service"],
        state=document["State"],
        health=document.get("Health") or "",
        exit_code=document.get("ExitCode") or 0,
        is_job=service.get("restart") == "no",
    )
