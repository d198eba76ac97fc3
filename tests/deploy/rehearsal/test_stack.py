"""The parts of a rehearsal that talk to podman and to the make targets."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest

from deploy.programs import DeployError
from deploy.rehearsal import podman, scenario
from deploy.rehearsal.stack import error_line
from deploy.rehearsal.workspace import Workspace

SECRET = "5f1d0c7e9ab34d21"


class Podman(BaseHTTPRequestHandler):
    """The API of podman with one container, whose health check has an interval of two minutes."""

    checks: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        if self.path.endswith("/healthcheck"):
            self.checks.append(self.path)
        documents: dict[str, Any] = {
            "/v4.0.0/libpod/containers/a/json": {
                "Config": {"Healthcheck": {"Test": ["CMD", "x"], "Interval": 120 * 10**9}}
            },
            "/v4.0.0/libpod/containers/b/json": {"Config": {"Healthcheck": {"Test": ["NONE"]}}},
            "/v4.0.0/libpod/containers/a/healthcheck": {"Status": "healthy"},
        }
        body = json.dumps(documents.get(self.path, {"cause": "no such container"})).encode()
        self.send_response(200 if self.path in documents else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "podman"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Print nothing."""


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """An API on a socket; the list has the health checks that were run."""
    path = tmp_path / "s"
    monkeypatch.setattr(podman, "SOCKET", path)
    Podman.checks.clear()
    with socketserver.ThreadingUnixStreamServer(str(path), Podman) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Podman.checks
        server.shutdown()
        thread.join()


def test_health_checks_run_at_their_interval(api: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon after the start, as Docker does, then at the interval of the container; a container without one is left alone."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    checks = podman.HealthChecks()
    counts = []
    for seconds in (0, 4, 1, 100, 19, 1):
        now += seconds
        checks._run_check("a")
        checks._run_check("b")
        counts.append(len(api))

    assert counts == [0, 0, 1, 1, 1, 2]


def test_an_error_of_podman_is_one_line(api: list[str]) -> None:
    """The status and the text of podman."""
    with pytest.raises(DeployError, match=r"^podman returned 404 for /v1/x: .*no such container"):
        podman.get("/v1/x")


def test_a_missing_podman_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a socket."""
    monkeypatch.setattr(podman, "SOCKET", tmp_path / "none")

    with pytest.raises(DeployError, match=r"^podman did not respond to /v1/x: "):
        podman.get("/v1/x")


def test_the_line_of_a_failed_target_is_its_own() -> None:
    """Not the last line, which is that of make."""
    lines = [
        "Container x Started",
        "payflow: wallet-migrate failed (exited, exit code 1): no route",
        "make: *** Error 1",
    ]

    assert error_line(lines) == "wallet-migrate failed (exited, exit code 1): no route"
    assert error_line(["ruff: error", "make: *** Error 2", ""]) == "ruff: error"
    assert error_line([]) == "no output"


@pytest.mark.parametrize(
    "shown", [{"Env": [f"URL=amqp://payflow:{SECRET}@rabbitmq/"]}, {"Cmd": ["--password", SECRET]}]
)
def test_a_secret_in_docker_inspect_fails_the_rehearsal(tmp_path: Path, shown: dict[str, Any]) -> None:
    """In the environment or among the arguments of any container."""
    workspace = Workspace(tmp_path)
    workspace.create()
    (workspace.run / "secrets.json").write_text(json.dumps({"rabbitmq": SECRET}))

    with pytest.raises(DeployError, match="docker inspect shows secrets of /gateway"):
        scenario._check_secrets(_Stack([{"Name": "/gateway", "Config": shown}]), workspace)  # type: ignore[arg-type]


def test_containers_without_secrets_pass(tmp_path: Path) -> None:
    """The path of a file of secrets is no secret."""
    workspace = Workspace(tmp_path)
    workspace.create()
    (workspace.run / "secrets.json").write_text(json.dumps({"rabbitmq": SECRET}))
    shown = {"Name": "/gateway", "Config": {"Env": ["PAYFLOW_SECRETS_DIR=/run/secrets"]}}

    assert scenario._check_secrets(_Stack([shown]), workspace) == "none of 1 in docker inspect of 1 containers"  # type: ignore[arg-type]


class _Stack:
    def __init__(self, containers: list[dict[str, Any]]) -> None:
        self._containers = containers

    def containers(self) -> list[dict[str, Any]]:
        return self._containers
