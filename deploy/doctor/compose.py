"""Pure: the containers of a Compose project, from `docker inspect`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from deploy.doctor.findings import Finding, fail, ok, passed_unless, warn
from deploy.doctor.periods import Stopping

Container = Mapping[str, Any]

SERVICE_LABEL = "com.docker.compose.service"
STOP_SECONDS_DEFAULT = 10.0
"""Docker's own, for a container without `stop_grace_period`."""
RESTARTS_MAX = 3
LOGS = "read its log: docker logs"


def service(container: Container) -> str:
    """The Compose service of a container."""
    return str(container["Config"]["Labels"].get(SERVICE_LABEL, container["Name"].lstrip("/")))


def name(container: Container) -> str:
    """The name of a container."""
    return str(container["Name"].lstrip("/"))


def check_running(containers: Sequence[Container], expected: Sequence[str]) -> list[Finding]:
    """Each service has a container, which runs and is healthy."""
    by_service = {service(container): container for container in containers}
    found = [
        fail("containers", f"there is no container of {wanted}", "run `make compose-up`")
        for wanted in expected
        if wanted not in by_service
    ]
    for container in containers:
        runs = service(container) in expected or _restarts(container)
        if runs and (why := _why_down(container)):
            found.append(fail("containers", f"{name(container)} {why}", f"{LOGS} {name(container)}"))
        elif container.get("RestartCount", 0) > RESTARTS_MAX:
            sentence = f"{name(container)} was restarted {container['RestartCount']} times"
            found.append(warn("containers", sentence, f"{LOGS} {name(container)}"))
    return passed_unless(found, "containers", f"{len(containers)} containers, all run and are healthy")


def _restarts(container: Container) -> bool:
    """Whether Docker starts it again when it ends: it is no one-shot job."""
    policy = container["HostConfig"]["RestartPolicy"]["Name"]
    return policy not in ("", "no")


def _why_down(container: Container) -> str | None:
    state = container["State"]
    if state.get("OOMKilled"):
        return "was killed because it used too much memory"
    if state["Status"] != "running":
        return f"is {state['Status']} (exit code {state.get('ExitCode')})"
    # Podman before 5 calls it Healthcheck.
    health = (state.get("Health") or state.get("Healthcheck") or {}).get("Status") or "healthy"
    return None if health == "healthy" else f"is {health}"


def check_jobs(containers: Sequence[Container], expected: Iterable[str]) -> list[Finding]:
    """Each one-shot job has run, and completed."""
    by_service = {service(container): container["State"] for container in containers}
    found = []
    for job in expected:
        state = by_service.get(job)
        if state is None:
            found.append(fail("jobs", f"the job {job} has never run", "run `make compose-up`"))
        elif state["Status"] != "exited":
            found.append(fail("jobs", f"the job {job} is {state['Status']}", "wait for it, or read its log"))
        elif state["ExitCode"] != 0:
            found.append(fail("jobs", f"the job {job} failed with exit code {state['ExitCode']}", "read its log"))
    return passed_unless(found, "one-shot jobs", "every one-shot job has completed")


def check_published(containers: Sequence[Container], *, public: frozenset[str]) -> list[Finding]:
    """Only the gateway is reachable from other machines."""
    found = [
        fail("ports", f"{name(container)} is published at {address}:{port}", "publish the gateway only")
        for container in containers
        if service(container) not in public
        for address, port in _published(container)
        if address not in ("127.0.0.1", "::1")
    ]
    return passed_unless(found, "ports", "only the gateway is published")


def _published(container: Container) -> Iterable[tuple[str, str]]:
    for bindings in (container["NetworkSettings"].get("Ports") or {}).values():
        for binding in bindings or []:
            yield binding["HostIp"] or "0.0.0.0", binding["HostPort"]  # noqa: S104 - what an empty address means


def environments(containers: Sequence[Container]) -> dict[str, dict[str, str]]:
    """The variables of each container."""
    return {
        name(container): dict(entry.partition("=")[::2] for entry in container["Config"].get("Env") or [])
        for container in containers
    }


def images(containers: Sequence[Container]) -> dict[str, str]:
    """The image that each container was made from, as it was named."""
    return {name(container): container["Config"]["Image"] for container in containers}


def check_image_ids(containers: Sequence[Container], roles: Iterable[str]) -> list[Finding]:
    """Every role runs the same image, not only one of the same name."""
    wanted = frozenset(roles)
    ids: dict[str, list[str]] = {}
    for container in containers:
        if service(container) in wanted:
            ids.setdefault(container["Image"], []).append(service(container))
    if len(ids) > 1:
        text = "; ".join(f"{image[:19]}: {', '.join(sorted(names))}" for image, names in sorted(ids.items()))
        return [fail("versions", f"the roles run {len(ids)} images: {text}", "run `make compose-up`")]
    return [ok("versions", "all roles run the same image")]


def stopping(containers: Sequence[Container], roles: Iterable[str]) -> list[Stopping]:
    """How long each role may take to stop."""
    wanted = frozenset(roles)
    return [
        Stopping(name(container), 0.0, float(container["Config"].get("StopTimeout") or STOP_SECONDS_DEFAULT))
        for container in containers
        if service(container) in wanted
    ]


def reversal_after(containers: Sequence[Container], default: float) -> float:
    """The age at which transfers expire, as the transaction service is configured."""
    for container in containers:
        if service(container) == "transaction":
            return float(environments([container])[name(container)].get("PAYFLOW_REVERSAL_AFTER_SECONDS", default))
    return default


def data_folder(info: Mapping[str, Any]) -> str:
    """Where images and volumes are, from `docker info` or `podman info`."""
    return str(info.get("DockerRootDir") or info.get("store", {}).get("graphRoot") or "/")
