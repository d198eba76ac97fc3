"""podman's API on a Unix socket: Docker's for Compose, and its own for health checks, which nothing else runs without systemd."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from deploy.programs import DeployError
from deploy.rehearsal.workspace import Workspace

SOCKET = Path("/run/payflow-podman.sock")
ADDRESS = f"unix://{SOCKET}"
START_SECONDS_MAX = 30.0
REQUEST_SECONDS_MAX = 60.0
TICK_SECONDS = 1.0
INTERVAL_SECONDS = 30.0
"""Docker's default for health checks without an interval."""
START_INTERVAL_SECONDS = 5.0
"""Docker's default: how often a container is checked that has just started."""
NANOSECONDS = 1e9


class _Connection(HTTPConnection):
    """HTTP over the socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(SOCKET))


def get(path: str) -> Any:
    """The JSON that the API returns for a path.

    Raises:
        DeployError: the API is gone, or returned an error.
    """
    try:
        with contextlib.closing(_Connection("podman", timeout=REQUEST_SECONDS_MAX)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            text = response.read()
    except (OSError, HTTPException) as error:
        raise DeployError(f"podman did not respond to {path}: {error}") from None
    if response.status != 200:  # noqa: PLR2004
        raise DeployError(f"podman returned {response.status} for {path}: {text.decode(errors='replace').strip()}")
    return json.loads(text)


@contextlib.contextmanager
def service(workspace: Workspace) -> Iterator[None]:
    """Run the API and the health checks of all containers.

    Raises:
        DeployError: it did not start.
    """
    with workspace.log.open("ab") as log:
        child = subprocess.Popen(
            ["podman", "system", "service", "--time=0", ADDRESS],
            env=workspace.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    checks = HealthChecks()
    try:
        _wait(child)
        checks.start()
        yield
    finally:
        checks.stop()
        child.terminate()
        child.wait()


def _wait(child: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < end and child.poll() is None:
        with contextlib.suppress(DeployError):
            get("/v4.0.0/libpod/info")
            return
        time.sleep(0.1)
    raise DeployError("podman did not start; see the log")


@dataclass(slots=True)
class Check:
    """The health check of one container: when it is due again. `interval` is in seconds; 0: it has none."""

    interval: float
    due: float


class HealthChecks:
    """Runs the health check of each container at its interval, and more often until it is healthy, as Docker does."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health-checks", daemon=True)
        self._checks: dict[str, Check] = {}

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a check that runs is not waited for."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(TICK_SECONDS):
            # A container may end at any moment, and podman reports that as an error.
            with contextlib.suppress(DeployError):
                for container in get("/v4.0.0/libpod/containers/json"):
                    with contextlib.suppress(DeployError):
                        self._run_check(container["Id"])

    def _run_check(self, container: str) -> None:
        if container not in self._checks:
            configured = get(f"/v4.0.0/libpod/containers/{container}/json")["Config"].get("Healthcheck") or {}
            is_off = configured.get("Test", ["NONE"])[0] == "NONE"
            interval = 0.0 if is_off else configured.get("Interval", 0) / NANOSECONDS or INTERVAL_SECONDS
            self._checks[container] = Check(interval, _next(min(interval, START_INTERVAL_SECONDS)))
        check = self._checks[container]
        if check.interval and time.monotonic() >= check.due:
            status = get(f"/v4.0.0/libpod/containers/{container}/healthcheck")["Status"]
            check.due = _next(check.interval if status == "healthy" else min(check.interval, START_INTERVAL_SECONDS))


def _next(seconds: float) -> float:
    return time.monotonic() + seconds
