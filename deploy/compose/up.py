"""`make compose-up`: check what could fail, write secrets, start everything in order and wait until it serves."""

from __future__ import annotations

import errno
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deploy.compose import prepare
from deploy.compose.project import OVERRIDE, PROFILES, Container, Project
from deploy.image import build
from deploy.local import seed
from deploy.local.ports import LOOPBACK
from deploy.monitoring.prepare import prepare as prepare_monitoring
from deploy.programs import DeployError
from deploy.secrets import files as secrets
from deploy.secrets.store import Secrets

HEALTHY_SECONDS_MAX = 300.0
READY_SECONDS_MAX = 60.0
POLL_SECONDS = 1.0
GATEWAY_PORT = 8000
GRAFANA_PORT = 3000
ALERTMANAGER = "http://alertmanager:9093"
"""As the gateway reaches it on the network `alerts`."""

ANY = "0.0.0.0"  # noqa: S104 - what Compose publishes on when no address is given
FAILED_LOG = "failed-start.log"


def up(caller: Mapping[str, str]) -> None:
    """Start the project, or bring a running one up to date.

    Raises:
        DeployError: a check failed, and nothing was changed; or a container failed, and what was started is stopped again.
    """
    profiles = [name for name in PROFILES if caller.get(name.upper()) == "1"]
    project = Project(caller, profiles=profiles)
    project.require_engine()
    refuse_lost_secrets(project.folder, project.volumes())
    require_volumes(project.missing_volumes())
    project.use(PAYFLOW_FILES=prepare.prepare(project.folder))
    if "monitoring" in profiles:
        project.use(PAYFLOW_ALERTMANAGER_URL=ALERTMANAGER)
        prepare_monitoring(project.folder, public_url=public_url(project.config))
    host, port = published(project.config)
    own = project.published_ports()
    for address in addresses(project.config, "gateway", GATEWAY_PORT):
        if address[1] not in own:
            require_free_port(*address)
    require_image(project, project.config["services"]["gateway"]["image"])
    url = _url(host, port)
    _start(project, url)
    _explain(project, url, demo="demo" in profiles)
    if "monitoring" in profiles:
        _explain_monitoring(project)


def refuse_lost_secrets(folder: Path, volumes: list[str]) -> None:
    """Raises DeployError: there are data whose secrets are missing. New ones would not fit them."""
    if not volumes:
        return
    path = folder / secrets.STORE
    lost = Secrets(path).lost()
    if lost:
        raise DeployError(
            f"the volumes {', '.join(sorted(volumes))} exist, but {path} has no {', '.join(lost)}: restore it from a backup, "
            "or remove the data with: make compose-down VOLUMES=1"
        )


def require_volumes(missing: list[str]) -> None:
    """Raises DeployError: a volume is missing that Compose does not create, because it must outlive the deployment."""
    if missing:
        commands = " && ".join(f"docker volume create {name}" for name in missing)
        raise DeployError(f"there is no volume {', '.join(missing)}; to create it: {commands}")


def public_url(config: Mapping[str, Any]) -> str:
    """The address that clients use, which a proxy before the gateway serves; empty if none is set."""
    environment: Mapping[str, str | None] = config["services"]["gateway"].get("environment") or {}
    return environment.get("PAYFLOW_PUBLIC_URL") or ""


def published(config: Mapping[str, Any]) -> tuple[str, int]:
    """The address on which the gateway is published; the first one, if the operator added others.

    Raises:
        DeployError: there is none.
    """
    for address in addresses(config, "gateway", GATEWAY_PORT):
        return address
    raise DeployError(f"{OVERRIDE} publishes the port {GATEWAY_PORT} of the gateway nowhere, or at no fixed port")


def addresses(config: Mapping[str, Any], service: str, target: int) -> Iterator[tuple[str, int]]:
    """Where a port of a service is published; nothing if an override removed the service or its ports."""
    for port in config["services"].get(service, {}).get("ports") or ():
        # Without a port of this machine, or with a range, Docker chooses one.
        if port["target"] == target and port.get("published", "").isdigit():
            yield port.get("host_ip") or ANY, int(port["published"])


def require_free_port(host: str, port: int) -> None:
    """Raises DeployError: another program listens there, or the address is not one of this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise DeployError(
                    f"port {port} is used by another program: choose one with PAYFLOW_GATEWAY_PORT"
                ) from None
            if error.errno == errno.EADDRNOTAVAIL:
                raise DeployError(f"PAYFLOW_GATEWAY_HOST is {host}, which is no address of this machine") from None


def require_image(project: Project, image: str) -> None:
    """Build the image if it is missing and is the one that is built here; mention it if it was built from other sources."""
    if project.docker is None or image != build.TAG:
        return
    label = '{{index .Config.Labels "org.opencontainers.image.revision"}}'
    command = [project.docker, "image", "inspect", "--format", label, image]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"building {image}")
        build.build()
    elif done.stdout.strip() != build.revision():
        print(
            f"{image} was built from {done.stdout.strip()[:12]}, not from the present sources; to build it again: make image"
        )


def _url(host: str, port: int) -> str:
    return f"http://{LOOPBACK if host == ANY else host}:{port}"


def _start(project: Project, url: str) -> None:
    ran_before = any(container.state == "running" for container in project.containers())
    try:
        failure = _run(project) or _wait_ready(url)
        if failure is not None:
            raise DeployError(failure + _keep_logs(project))  # noqa: TRY301 - cleaned up below
    except BaseException:
        # An update that fails leaves the running containers to the operator.
        if not ran_before:
            project.follow("down", "--remove-orphans")
        raise


def _run(project: Project) -> str | None:
    """Start everything in order; returns why a container is not healthy, if one is not."""
    stopped = project.follow("up", "--detach", "--remove-orphans")
    if stopped is None:
        return _wait_healthy(project)
    return _describe(project, project.containers()) or stopped


def _wait_healthy(project: Project) -> str | None:
    """Wait for all containers; returns why they are not healthy, if they are not."""
    deadline = time.monotonic() + HEALTHY_SECONDS_MAX
    while True:
        containers = project.containers()
        if containers and all(container.is_done for container in containers):
            return None
        failure = _describe(project, containers)
        if failure is not None:
            return failure
        if time.monotonic() > deadline:
            late = sorted({container.service for container in containers if not container.is_done})
            return f"not healthy after {HEALTHY_SECONDS_MAX:.0f} s: {', '.join(late)}"
        time.sleep(POLL_SECONDS)


def _wait_ready(url: str) -> str | None:
    """Wait until the gateway serves requests; returns why it does not, if it does not."""
    deadline = time.monotonic() + READY_SECONDS_MAX
    while True:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):  # noqa: S310 - our own address
                return None
        except OSError as error:
            reason = str(error)
        if time.monotonic() > deadline:
            return f"{url}/readyz is not ready after {READY_SECONDS_MAX:.0f} s: {reason}"
        time.sleep(POLL_SECONDS)


def _describe(project: Project, containers: list[Container]) -> str | None:
    """The first container that failed, and its last line."""
    failed = next((container for container in containers if container.is_failed), None)
    if failed is None:
        return None
    how = failed.health if failed.state == "running" else f"{failed.state}, exit code {failed.exit_code}"
    return f"{failed.service} failed ({how}): {project.last_log_line(failed.service) or 'it logged nothing'}"


def _keep_logs(project: Project) -> str:
    """Keep the logs, which are lost when containers are removed; returns where they are, if there are any."""
    logs = project.output("logs", "--no-color", "--timestamps", what="docker compose logs")
    if not logs.strip():
        return ""
    path = project.folder / FAILED_LOG
    path.write_text(logs)
    return f"; all logs are in {path}"


def _explain(project: Project, url: str, *, demo: bool) -> None:
    print(f"\nPayFlow is ready: {url}\n")
    if demo:
        print(f"  users     {seed.ALICE}, {seed.BOB}, {seed.OPERATOR} (operator); password {seed.PASSWORD}")
    else:
        print(
            f"  operator  register a user, then: {project.shown} exec auth python -m services.auth grant EMAIL operator"
        )
    print(f"  secrets   {project.folder / secrets.STORE}: back it up, the data are useless without it")
    print(f"  logs      {project.shown} logs --follow gateway")
    print("  stop      make compose-down\n")


def _explain_monitoring(project: Project) -> None:
    password = project.folder / "secrets" / "grafana" / "grafana_admin_password"
    for host, port in addresses(project.config, "grafana", GRAFANA_PORT):
        print(f"  Grafana   {_url(host, port)}, user admin, password in {password}\n")
