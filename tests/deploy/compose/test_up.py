"""What `make compose-up` and `make compose-down` do around Docker, which a script stands in for: it records its calls."""

from __future__ import annotations

import http.server
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.compose import project, up
from deploy.compose.down import down
from deploy.compose.project import Project, find_compose
from deploy.compose.up import published, refuse_lost_secrets, require_free_port
from deploy.local.engines import postgres
from deploy.programs import DeployError
from deploy.secrets import files
from deploy.secrets.store import IRREPLACEABLE

STAND_IN = """\
#!/bin/sh
cd "$(dirname "$0")"
echo "demo=$PAYFLOW_DEMO files=$PAYFLOW_FILES alerts=$PAYFLOW_ALERTMANAGER_URL $*" >> calls
case "$*" in
    "compose version --short") cat version ;;
    "volume ls --quiet --filter"*) cat volumes ;;
    "volume ls"*) cat existing ;;
    "image inspect"*) echo unknown ;;
    *" config "*) if [ -s config ]; then cat config; else shift; exec "{compose}" "$@"; fi ;;
    *"ps --all"*) if grep -q "plain up" calls; then cat after; else cat before; fi ;;
    *"ps --format"*) cat before ;;
    *logs*) cat log ;;
    *" up "*) echo "Container started"; exit "$(cat exit)" ;;
esac
"""


class Docker:
    """The program `docker` in a folder of its own; its files are what it returns."""

    def __init__(self, folder: Path, gateway_port: int) -> None:
        self.folder = folder
        compose = Path(sys.executable).with_name("docker-compose")
        program = folder / "docker"
        program.write_text(STAND_IN.format(compose=compose))
        program.chmod(0o755)
        services: dict[str, Any] = {name: {"restart": "no"} for name in ("provision", "wallet-migrate")}
        services["postgres"] = {"restart": "unless-stopped"}
        port = {"host_ip": "127.0.0.1", "target": 8000, "published": str(gateway_port)}
        services["gateway"] = {"image": "payflow:dev", "ports": [port]}
        self.set(
            config=json.dumps({"services": services}),
            version="5.6.1\n",
            volumes="",
            existing="",
            before="",
            after=container("gateway"),
            log="",
            exit="0",
        )
        (folder / "calls").touch()
        self.deploy = folder / "deploy"
        self.caller = {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "PAYFLOW_DEPLOY": str(self.deploy),
            "PAYFLOW_GATEWAY_PORT": str(gateway_port),
        }

    def set(self, **texts: str) -> None:
        for name, text in texts.items():
            (self.folder / name).write_text(text)

    def calls(self, word: str) -> list[str]:
        return [line for line in (self.folder / "calls").read_text().splitlines() if f" {word}" in line]


def container(service: str, state: str = "running", *, health: str = "healthy", exit_code: int = 0) -> str:
    document = {"Service": service, "State": state, "Health": health, "ExitCode": exit_code, "Publishers": []}
    return json.dumps(document) + "\n"


class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[int]:
    """The port of a gateway that is ready."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ready)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture
def docker(tmp_path: Path, gateway: int, monkeypatch: pytest.MonkeyPatch) -> Docker:
    """Its gateway listens before it is started, so the check of the port is left out."""
    monkeypatch.setattr(up, "require_free_port", lambda _host, _port: None)
    return Docker(tmp_path, gateway)


def test_missing_docker_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Docker, its socket and DOCKER_HOST the line says what to install."""
    monkeypatch.setattr(project, "SOCKET", tmp_path / "none")

    with pytest.raises(DeployError, match=r"^Docker is not installed: install Docker Engine .*$"):
        up.up({"PATH": str(tmp_path)})


def test_an_engine_that_does_not_run_is_one_line(tmp_path: Path) -> None:
    """The real Compose finds no engine; no secret is written before that."""
    caller = {
        "PATH": str(tmp_path),
        "DOCKER_HOST": f"unix://{tmp_path}/none",
        "PAYFLOW_DEPLOY": str(tmp_path / "deploy"),
    }

    with pytest.raises(DeployError, match=r"^no connection to Docker: .*none.*$"):
        up.up(caller)

    assert not (tmp_path / "deploy").exists()


def test_an_old_plugin_is_not_used(docker: Docker) -> None:
    """Compose 2.23 cannot read the file, so the locked program is used."""
    program = str(docker.folder / "docker")
    assert [program, "compose"] == find_compose(program, docker.caller)

    docker.set(version="2.23.3\n")

    locked = str(Path(sys.executable).with_name("docker-compose"))
    assert [locked] == find_compose(program, docker.caller)
    assert f"{locked} --project-name payflow" == Project(docker.caller).shown


def test_a_used_port_stops_the_start(tmp_path: Path) -> None:
    """The line names the port and the variable; nothing is started."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        docker = Docker(tmp_path, listener.getsockname()[1])

        with pytest.raises(DeployError, match=r"^port \d+ is used by another program: .*PAYFLOW_GATEWAY_PORT$"):
            up.up(docker.caller)

    assert not docker.calls("up")


def test_the_port_of_the_running_gateway_is_no_conflict(tmp_path: Path, gateway: int) -> None:
    """A second start finds its own gateway on the port, and updates it."""
    docker = Docker(tmp_path, gateway)
    running = json.loads(container("gateway")) | {"Publishers": [{"PublishedPort": gateway}]}
    docker.set(before=json.dumps(running))

    up.up(docker.caller)

    assert docker.calls("up")


def test_an_address_of_another_machine_is_one_line() -> None:
    """A gateway cannot be published on it."""
    with pytest.raises(DeployError, match=r"PAYFLOW_GATEWAY_HOST is 192\.0\.2\.1"):
        require_free_port("192.0.2.1", 8000)


def test_data_without_secrets_stop_the_start(docker: Docker) -> None:
    """No new secrets are generated over volumes that exist, and nothing is started."""
    docker.set(volumes="payflow_postgres\npayflow_rabbitmq\n")

    with pytest.raises(
        DeployError, match=r"^the volumes payflow_postgres, payflow_rabbitmq exist, but .*secrets\.json"
    ):
        up.up(docker.caller)

    assert not docker.deploy.exists()
    assert not docker.calls("up")


@pytest.mark.parametrize("lost", IRREPLACEABLE)
def test_data_without_one_of_their_secrets_stop_the_start(tmp_path: Path, lost: str) -> None:
    """The password of the superuser, that of the broker, and the key of auth's secrets cannot be generated again."""
    files.write(tmp_path)
    stored = json.loads((tmp_path / files.STORE).read_text())
    refuse_lost_secrets(tmp_path, ["payflow_postgres"])
    del stored[lost]
    (tmp_path / files.STORE).write_text(json.dumps(stored))

    with pytest.raises(DeployError, match=lost):
        refuse_lost_secrets(tmp_path, ["payflow_postgres"])
    refuse_lost_secrets(tmp_path, [])


def test_the_secrets_of_data_are_known() -> None:
    """They are what PostgreSQL and RabbitMQ were created with, and what auth encrypts its keys with."""
    assert set(IRREPLACEABLE) == {f"postgres:{postgres.SUPERUSER}", "rabbitmq", "auth_secret"}


def test_a_start_prints_what_is_needed_next(docker: Docker, capsys: pytest.CaptureFixture[str]) -> None:
    """Address, first operator, secrets, logs and how to stop; a job that has ended well is no failure."""
    docker.set(after=container("provision", "exited", health="") + container("gateway"))

    up.up(docker.caller)

    printed = capsys.readouterr().out
    assert f"PayFlow is ready: http://127.0.0.1:{docker.caller['PAYFLOW_GATEWAY_PORT']}" in printed
    assert "docker compose --project-name payflow exec auth python -m services.auth grant EMAIL operator" in printed
    assert "make compose-down" in printed
    assert (docker.deploy / files.STORE).exists()
    assert not docker.calls("down")


def test_demo_mode_is_chosen_by_the_command_alone(docker: Docker, capsys: pytest.CaptureFixture[str]) -> None:
    """PAYFLOW_DEMO of the shell is not passed on; with DEMO=1 the profile runs and the logins are printed."""
    up.up(docker.caller | {"PAYFLOW_DEMO": "1"})
    up.up(docker.caller | {"DEMO": "1"})

    first, second = docker.calls("up")
    assert first.startswith("demo=0 ")
    assert "--profile" not in first
    assert second.startswith("demo=1 ")
    assert "--profile demo" in second
    assert "alice@example.com" in capsys.readouterr().out


def test_a_changed_secret_reaches_running_containers(docker: Docker) -> None:
    """The containers have a label that changes with the files, so that Compose creates them again; else it does not change."""
    up.up(docker.caller)
    up.up(docker.caller)
    store = docker.deploy / files.STORE
    store.write_text(json.dumps(json.loads(store.read_text()) | {"redis": "chosen-by-hand-1"}))
    up.up(docker.caller)

    first, second, third = (line.split()[1] for line in docker.calls("up"))

    assert first == second != third
    docker.set(config="")
    labels = Project(docker.caller).config["services"]["gateway"]["labels"]
    assert labels == {"payflow.files": ""}


def test_monitoring_is_written_and_started_by_its_profile(docker: Docker, capsys: pytest.CaptureFixture[str]) -> None:
    """MONITORING=1 writes what its containers mount, names Alertmanager to the gateway, and prints where Grafana is."""
    docker.set(config="")
    up.up(docker.caller | {"MONITORING": "1", "PAYFLOW_PUBLIC_URL": "https://pay.example.org"})

    [call] = docker.calls("up")
    assert "--profile monitoring" in call
    assert f"alerts={up.ALERTMANAGER} " in call
    assert (docker.deploy / "monitoring/prometheus/prometheus.yml").exists()
    assert "https://pay.example.org/livez" in (docker.deploy / "monitoring/prometheus/targets/public.json").read_text()
    assert "Grafana   http://127.0.0.1:3000" in capsys.readouterr().out


def test_backups_need_their_volume(docker: Docker) -> None:
    """BACKUP=1 without the volume is one line with the command that creates it, before anything is written or started."""
    docker.set(config="")
    with pytest.raises(DeployError, match=r"no volume payflow-backups; .*: docker volume create payflow-backups$"):
        up.up(docker.caller | {"BACKUP": "1"})
    assert not docker.deploy.exists()
    assert not docker.calls("up")

    docker.set(existing="other\npayflow-backups\n")
    up.up(docker.caller | {"BACKUP": "1"})

    assert docker.calls("up")


def test_an_override_may_remove_grafana(docker: Docker, capsys: pytest.CaptureFixture[str]) -> None:
    """A start with MONITORING=1 and without Grafana, or with two ports of the gateway, prints what there is."""
    docker.set(config="")
    docker.deploy.mkdir()
    (docker.deploy / "override.yaml").write_text(
        "services:\n  grafana: !reset null\n  gateway: {ports: ['127.0.0.2:9321:8000', '127.0.0.1:9322:9100']}\n"
    )

    up.up(docker.caller | {"MONITORING": "1"})

    printed = capsys.readouterr().out
    assert f"PayFlow is ready: http://127.0.0.1:{docker.caller['PAYFLOW_GATEWAY_PORT']}" in printed
    assert "Grafana" not in printed


@pytest.mark.parametrize("ports", ["!reset []", "!override ['8000']", "!override ['127.0.0.1:9322:9100']"])
def test_a_gateway_that_is_not_published_is_one_line(docker: Docker, ports: str) -> None:
    """An override that removes the port of the gateway, or leaves it to Docker, stops the start."""
    docker.set(config="")
    docker.deploy.mkdir()
    (docker.deploy / "override.yaml").write_text(f"services:\n  gateway:\n    ports: {ports}\n")

    with pytest.raises(DeployError, match=r"^override\.yaml publishes the port 8000 of the gateway nowhere"):
        up.up(docker.caller)

    assert not docker.calls("up")


def test_a_job_that_fails_is_named_and_everything_stops(docker: Docker) -> None:
    """The line has the service and its last log line; logs are kept, containers are not."""
    docker.set(
        exit="1",
        after=container("postgres") + container("wallet-migrate", "exited", health="", exit_code=1),
        log="starting\nwallet migrate: cannot migrate: no space left\n",
    )

    with pytest.raises(DeployError, match=r"^wallet-migrate failed \(exited, exit code 1\): .*no space left; all logs"):
        up.up(docker.caller)

    assert docker.calls("down")
    assert not [line for line in docker.calls("down") if "--volumes" in line]
    assert "no space left" in (docker.deploy / up.FAILED_LOG).read_text()


def test_a_start_without_a_container_has_the_line_of_docker(docker: Docker) -> None:
    """An image that cannot be pulled: the last line of Compose, and no mention of logs that do not exist."""
    docker.set(exit="1", after="")

    with pytest.raises(DeployError, match=r"^Container started$"):
        up.up(docker.caller)

    assert not (docker.deploy / up.FAILED_LOG).exists()


def test_a_start_waits_for_its_jobs(docker: Docker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that still runs is not done, and a role that has ended is not, whatever its exit code."""
    monkeypatch.setattr(up, "HEALTHY_SECONDS_MAX", 0.0)
    running = container("wallet-migrate", health="") + container("gateway")
    docker.set(after=running)
    with pytest.raises(DeployError, match=r"^not healthy after 0 s: wallet-migrate$"):
        up.up(docker.caller)

    docker.set(after=container("gateway") + container("postgres", "exited", health=""))
    with pytest.raises(DeployError, match=r"^not healthy after 0 s: postgres$"):
        up.up(docker.caller)


def test_a_job_of_another_profile_is_no_failure(docker: Docker) -> None:
    """The demo job that failed yesterday does not concern a start without it."""
    docker.set(config="", after=container("gateway") + container("demo-seed", "exited", health="", exit_code=1))

    up.up(docker.caller)

    with pytest.raises(DeployError, match=r"^demo-seed failed"):
        up.up(docker.caller | {"DEMO": "1"})


def test_an_unhealthy_container_is_a_failed_start(docker: Docker) -> None:
    """Also when `docker compose up` itself ended without an error."""
    docker.set(after=container("gateway", health="unhealthy"), log="address in use\n")

    with pytest.raises(DeployError, match=r"^gateway failed \(unhealthy\): address in use"):
        up.up(docker.caller)

    assert docker.calls("down")


def test_an_update_that_fails_leaves_what_runs(docker: Docker) -> None:
    """A running deployment is not taken down because one container of the update failed."""
    docker.set(
        before=container("gateway"),
        exit="1",
        after=container("wallet-migrate", "exited", health="", exit_code=1),
        log="refused\n",
    )

    with pytest.raises(DeployError, match=r"^wallet-migrate failed"):
        up.up(docker.caller)

    assert not docker.calls("down")


def test_settings_and_overrides_of_the_operator_are_used(docker: Docker) -> None:
    """settings.env and override.yaml beside secrets.json; a variable of the shell wins."""
    docker.set(config="")
    docker.deploy.mkdir()
    (docker.deploy / "settings.env").write_text(
        "PAYFLOW_GATEWAY_PORT=9123\nPAYFLOW_PUBLIC_URL=https://pay.example.com\n"
    )
    (docker.deploy / "override.yaml").write_text("services: {gateway: {environment: {PAYFLOW_LOG_LEVEL: debug}}}\n")
    port = docker.caller.pop("PAYFLOW_GATEWAY_PORT")

    config = Project(docker.caller).config

    assert ("127.0.0.1", 9123) == published(config)
    assert "https://pay.example.com" == config["services"]["gateway"]["environment"]["PAYFLOW_PUBLIC_URL"]
    assert "debug" == config["services"]["gateway"]["environment"]["PAYFLOW_LOG_LEVEL"]
    assert int(port) == published(Project(docker.caller | {"PAYFLOW_GATEWAY_PORT": port}).config)[1]


def test_down_keeps_the_data(docker: Docker, capsys: pytest.CaptureFixture[str]) -> None:
    """Containers of all profiles are removed, volumes are not."""
    docker.set(volumes="payflow_postgres\n")

    down(docker.caller)

    [call] = docker.calls("down")
    assert "--profile demo --profile monitoring" in call
    assert "--volumes" not in call
    assert "the data stay in payflow_postgres" in capsys.readouterr().out


def test_data_are_removed_only_after_a_confirmation(docker: Docker, monkeypatch: pytest.MonkeyPatch) -> None:
    """VOLUMES=1 needs a yes at the terminal, or YES=1; without one nothing is stopped either."""
    docker.set(volumes="payflow_postgres\n")
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with pytest.raises(DeployError, match=r"^nothing was removed$"):
            down(docker.caller | {"VOLUMES": "1"})
    assert not docker.calls("down")

    down(docker.caller | {"VOLUMES": "1", "YES": "1"})

    [call] = docker.calls("down")
    assert call.endswith("down --remove-orphans --volumes")
