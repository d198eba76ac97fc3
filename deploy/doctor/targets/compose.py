"""The containers of `make compose-up` on this machine."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy import facts, programs
from deploy.doctor import compose, containers, host, networks, periods, pools, processes, revisions, secrets
from deploy.doctor.compose import Container
from deploy.doctor.containers import Running
from deploy.doctor.findings import Finding
from deploy.image import lock
from deploy.local import files, ports
from deploy.programs import DeployError
from deploy.secrets.files import STORE, target_folder

PROJECT = "payflow"
ENGINES = ("postgres", "rabbitmq", "redis")
JOBS = ("provision", *(name for name in facts.JOBS if name.endswith("-migrate")))
PUBLISHED_PORT = 8000
HINT = "install Docker Engine with its compose plugin (https://docs.docker.com/engine/install)"

ENGINE_EDGES = networks.edges((), ENGINES)
"""Tried by every role: the networks close those that it does not need. An API shares its network with all its callers."""


def before() -> Iterator[Finding]:
    """What can be known before `make compose-up`.

    Raises:
        DeployError: Docker is missing or does not respond.
    """
    docker = _docker()
    store = _folder() / STORE
    volumes = _output([docker, "volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={_project()}"])
    yield from secrets.check_orphaned_volumes(volumes.split(), has_store=store.exists(), path=str(store))
    if not _containers(docker):
        port = int(os.environ.get("PAYFLOW_GATEWAY_PORT", PUBLISHED_PORT))
        used = [] if ports.is_free(port) else [port]
        yield from host.check_ports(used, [port], advice="stop it, or set PAYFLOW_GATEWAY_PORT")
    yield from host.check_images({image.name: image.reference for image in lock.read().values()})
    yield from _check_disk(docker)


def after() -> Iterator[Finding]:
    """The running containers.

    Raises:
        DeployError: Docker is missing or does not respond, or there are no containers.
    """
    docker = _docker()
    inspected = _containers(docker)
    if not inspected:
        raise DeployError(f"the Compose project {_project()} has no containers: start it with `make compose-up`")
    yield from compose.check_running(inspected, [*facts.ROLES, *ENGINES])
    yield from compose.check_jobs(inspected, JOBS)
    yield from compose.check_published(inspected, public=frozenset({"gateway"}))
    yield from compose.check_image_ids(inspected, facts.ROLES)
    yield from host.check_images(compose.images(inspected))
    names = {name for process in facts.PROCESSES.values() for name in process.secrets}
    yield from secrets.check_environments(compose.environments(inspected), names)
    yield from secrets.check_demo(compose.environments(inspected))
    yield from periods.check_stopping(compose.stopping(inspected, facts.ROLES), drain=facts.PERIODS.stop_max)
    yield from _check_processes(docker, inspected)
    yield from _check_databases(docker, inspected)
    yield from periods.check_transfer_periods(
        reversal_after=compose.reversal_after(inspected, facts.PERIODS.reversal_after),
        message_lifetime=facts.PERIODS.message_lifetime,
    )
    yield from _check_secrets()
    yield from _check_disk(docker)


def _check_processes(docker: str, inspected: Sequence[Container]) -> Iterator[Finding]:
    def run_in(container: Container) -> containers.Command:
        return lambda command: [docker, "exec", container["Id"], *command]

    running = [
        Running(compose.name(container), compose.service(container), run_in(container))
        for container in inspected
        if compose.service(container) in facts.ROLES and container["State"]["Status"] == "running"
    ]
    allowed = {name: networks.edges(role.upstreams, role.engines) for name, role in facts.ROLES.items()}
    tried = {name: sorted(edges | ENGINE_EDGES) for name, edges in allowed.items()}
    probes = containers.probe_all(running, tried)
    advice = f"read its log: docker compose --project-name {_project()} logs --tail 50 ROLE"
    yield from processes.check_roles(probes, facts.ROLES, advice=advice)
    yield from processes.check_readiness(probes, advice=advice)
    yield from processes.check_versions(probes)
    yield from processes.check_jobs(probes, now=time.time(), advice=advice)
    yield from processes.check_queues(probes)
    yield from processes.check_ledger(probes)
    yield from processes.check_clocks(probes)
    yield from processes.check_open_files(probes)
    yield from networks.check_dns(probes, allowed)
    yield from networks.check_edges(probes, allowed, advice="compare the networks of deploy/compose")


def _check_databases(docker: str, inspected: Sequence[Container]) -> Iterator[Finding]:
    server = next((each for each in inspected if compose.service(each) == "postgres"), None)
    output = ""
    if server is not None and server["State"]["Status"] == "running":
        output = _output([docker, "exec", server["Id"], "sh", "-c", revisions.shell()])
    found, connections_max = revisions.parse(output)
    yield from host.check_revisions(found, revisions.expected())
    counts = Counter(compose.service(each) for each in inspected if compose.service(each) in facts.ROLES)
    values = compose.environments(inspected)
    by_role = {compose.service(each): values[compose.name(each)] for each in inspected}
    yield from periods.check_connections(pools.list_uses(counts, by_role), connections_max=connections_max)


def _check_secrets() -> Iterator[Finding]:
    folder = _folder()
    store = folder / STORE
    yield from secrets.check_store(files.read_object(store) or {}, path=str(store))
    modes = {str(path): path.stat().st_mode & 0o777 for path in (folder, store) if path.exists()}
    yield from secrets.check_modes(modes)


def _check_disk(docker: str) -> Iterator[Finding]:
    root = Path(compose.data_folder(json.loads(_output([docker, "info", "--format", "{{json .}}"]))))
    # Docker Desktop has it inside of a virtual machine.
    existing = root if root.exists() else Path("/")
    usage = shutil.disk_usage(existing)
    yield from host.check_disk(str(existing), total=usage.total, free=usage.free)


def _containers(docker: str) -> list[Container]:
    """The containers of the project as `docker inspect` shows them."""
    listed = [docker, "ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={_project()}"]
    ids = _output(listed).split()
    if not ids:
        return []
    found: list[Container] = json.loads(_output([docker, "inspect", *ids]))
    return found


def _docker() -> str:
    """The command of Docker, or of Podman if there is no Docker; both have the same options here."""
    docker = shutil.which("docker") or shutil.which("podman") or programs.find("docker", hint=HINT)
    _output([docker, "version", "--format", "{{.Server.Version}}"])
    return docker


def _folder() -> Path:
    """The folder that compose.yaml reads, from the same variable."""
    return Path(os.environ.get("PAYFLOW_DEPLOY") or target_folder("compose"))


def _project() -> str:
    return os.environ.get("COMPOSE_PROJECT_NAME") or PROJECT


def _output(command: list[str]) -> str:
    return programs.output(command, what=" ".join([Path(command[0]).name, *command[1:2]]), seconds_max=60.0)
