from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import facts
from deploy.compose.prepare import prepare
from deploy.image import lock
from deploy.local.engines import rabbitmq, redis
from deploy.secrets import consumers
from services.chassis.settings import PREFIX

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy/compose"
FILE = FOLDER / "compose.yaml"
TOOLS = Path(sys.executable).parent
ENGINES = {"postgres", "rabbitmq", "redis"}
JOBS = {"provision", "demo-seed", *(name for name in facts.JOBS if name.endswith("-migrate"))}
SECRETS = "/run/secrets"


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deploy") / "compose"
    prepare(folder)
    return folder


@pytest.fixture(scope="module")
def project(folder: Path) -> dict[str, Any]:
    """The file as the real Compose reads it, with all profiles."""
    command = [str(TOOLS / "docker-compose"), "--file", str(FILE), "--profile", "*", "config", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PAYFLOW_DEPLOY": str(folder)})
    assert "" == done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def services(project: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The services of this file, without those of the files that it includes."""
    return {name: project["services"][name] for name in (*facts.ROLES, *JOBS, *ENGINES)}


def test_the_file_follows_the_schema() -> None:
    """The schema of the Compose specification accepts it."""
    run(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", FILE)


def test_the_linter_finds_nothing_unexplained() -> None:
    """compose-lint reports nothing but what its file of exceptions explains."""
    run(TOOLS / "compose-lint", "--config", FOLDER / ".compose-lint.yml", "--fail-on", "low", FILE)


def test_the_services_are_the_roles_of_the_code(project: dict[str, Any], services: dict[str, dict[str, Any]]) -> None:
    """Every role, migrate job and engine is a service; each role and job runs its own command."""
    started = {name for name, service in project["services"].items() if "services." in str(service.get("command"))}
    assert started == set(consumers.process_names())
    for name in consumers.process_names():
        assert facts.PROCESSES[name].arguments == services[name]["command"]
        assert services[name].get("entrypoint") is None


def test_each_process_gets_its_settings_and_no_other(services: dict[str, dict[str, Any]], folder: Path) -> None:
    """Every variable exists in the settings class, every required one is given, and none is given twice."""
    for name in consumers.process_names():
        process, given = facts.PROCESSES[name], services[name].get("environment") or {}
        from_files = {path.name.upper() for path in (folder / "secrets" / name).iterdir()}
        assert set(given) <= set(process.variables), name
        assert process.required <= set(given) | from_files, name
        assert not from_files & set(given), name
        for upstream in process.upstreams:
            assert given[f"{PREFIX}{upstream.upper()}_URL"] == f"http://{upstream}:{facts.ROLES[upstream].port}"


def test_no_secret_is_in_an_environment_or_command(services: dict[str, dict[str, Any]], folder: Path) -> None:
    """Neither a variable of a secret nor the value of one occurs in what `docker inspect` shows."""
    shown = json.dumps(services)
    for value in json.loads((folder / "secrets.json").read_text()).values():
        assert value not in shown
    secrets = {variable for process in facts.PROCESSES.values() for variable in process.secrets}
    for service in services.values():
        assert not secrets & set(service.get("environment") or {})


def test_each_container_mounts_its_own_secrets_only(services: dict[str, dict[str, Any]], folder: Path) -> None:
    """Its folder, or files of it, read-only; Docker creates none that is missing."""
    for name, service in services.items():
        binds = [mount for mount in service["volumes"] if mount["type"] == "bind"]
        sources = [Path(mount["source"]).relative_to(folder) for mount in binds]
        assert {source.parts[1] for source in sources if source.parts[0] == "secrets"} == {name}
        assert {source.parts[0] for source in sources} <= {"secrets", "files"}
        assert all((folder / source).exists() for source in sources)
        assert all(mount["read_only"] and not mount["bind"]["create_host_path"] for mount in binds)
        if name not in ENGINES:
            assert SECRETS in {mount["target"] for mount in binds}


def test_containers_can_do_nothing_but_their_work(services: dict[str, dict[str, Any]]) -> None:
    """No root, no capability, no new privileges, nothing writable but /tmp and data; limits for all, and for logs."""
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert "privileged" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"] == ("999:999" if name in {*ENGINES, "provision"} else "10001:10001"), name
        limits = service["deploy"]["resources"]["limits"]
        assert set(limits) == {"cpus", "memory", "pids"}, name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, name


def test_only_the_gateway_is_published(services: dict[str, dict[str, Any]]) -> None:
    """On the loopback unless another address is chosen."""
    published = {name: service["ports"] for name, service in services.items() if service.get("ports")}

    [port] = published.pop("gateway")
    assert not published
    assert (port["host_ip"], port["published"], port["target"]) == ("127.0.0.1", "8000", facts.ROLES["gateway"].port)


def calls(name: str) -> set[str]:
    """What a container has to reach."""
    extra = {"provision": {"postgres"}, "demo-seed": {"postgres", "gateway"}}
    if name in ENGINES or name in extra:
        return extra.get(name, set())
    process = facts.PROCESSES[name]
    return {*process.upstreams, *process.engines} - {"smtp"}


def test_each_container_reaches_what_it_calls(services: dict[str, dict[str, Any]]) -> None:
    """It shares a network with each of them."""
    for name, service in services.items():
        for other in calls(name):
            assert set(service["networks"]) & set(services[other]["networks"]), f"{name} does not reach {other}"


def test_containers_share_a_network_only_for_a_call(services: dict[str, dict[str, Any]]) -> None:
    """Two share one only if one calls the other, or both call the same third on it."""
    for first, second in combinations(services, 2):
        shared = set(services[first]["networks"]) & set(services[second]["networks"])
        if second in calls(first) or first in calls(second):
            continue
        for network in shared:
            members = {name for name, service in services.items() if network in service["networks"]}
            assert calls(first) & calls(second) & members or {first, second} <= ENGINES, f"{first}, {second}: {network}"
    assert not set(services["gateway"]["networks"]) & set(services["postgres"]["networks"])


def test_only_the_edge_and_the_mail_reach_the_outside(
    project: dict[str, Any], services: dict[str, dict[str, Any]]
) -> None:
    """All other networks are internal: the gateway is published, and e-mails go to a mail server."""
    outside = {name for name, network in project["networks"].items() if not network.get("internal")}

    on_them = {name: outside & set(service["networks"]) for name, service in services.items()}

    assert {name: networks for name, networks in on_them.items() if networks} == {
        "gateway": {"public"},
        "notification-deliver": {"outbound"},
    }


def test_everything_starts_after_what_it_needs(services: dict[str, dict[str, Any]]) -> None:
    """Engines and services are healthy, and the migration has ended, before a role starts."""
    for name in facts.ROLES:
        process, waits = facts.ROLES[name], conditions(services[name])
        healthy = {*process.upstreams, *process.engines} - {"smtp"}
        migrated = {f"{process.service}-migrate"} if process.databases else set()
        assert waits == dict.fromkeys(healthy, "service_healthy") | dict.fromkeys(
            migrated, "service_completed_successfully"
        ), name
    for name in JOBS - {"provision", "demo-seed"}:
        assert conditions(services[name]) == {
            "postgres": "service_healthy",
            "provision": "service_completed_successfully",
        }
    assert conditions(services["provision"]) == {"postgres": "service_healthy"}
    assert set(conditions(services["demo-seed"]).values()) == {"service_healthy"}


def conditions(service: dict[str, Any]) -> dict[str, str]:
    return {other: wait["condition"] for other, wait in service["depends_on"].items()}


def test_roles_have_time_to_finish_their_work(services: dict[str, dict[str, Any]]) -> None:
    """Docker kills a container later than a role ends by itself."""
    for name in facts.ROLES:
        assert int(services[name]["stop_grace_period"].removesuffix("s")) > facts.PERIODS.stop_max


def test_health_is_checked_by_what_the_image_has(services: dict[str, dict[str, Any]]) -> None:
    """Roles by the module of the code, on the default port; each engine by its own program; jobs end instead."""
    for name in facts.ROLES:
        assert services[name]["healthcheck"]["test"] == ["CMD", "python", "-m", "services.chassis.healthcheck"]
        assert f"{PREFIX}METRICS_PORT" not in (services[name].get("environment") or {})
    assert (ROOT / "services/chassis/healthcheck.py").exists()
    programs = {"postgres": "pg_isready", "rabbitmq": "rabbitmq-diagnostics", "redis": "redis-cli"}
    for name, program in programs.items():
        assert program in " ".join(services[name]["healthcheck"]["test"])
    # The server of the first start, which creates the data, listens on its socket only.
    assert "--host=127.0.0.1" in services["postgres"]["healthcheck"]["test"]
    for name in JOBS:
        assert services[name]["healthcheck"] == {"disable": True}


def test_what_ends_is_started_again_and_jobs_are_not(services: dict[str, dict[str, Any]]) -> None:
    """A restart policy for all but jobs; two workers."""
    assert {name for name, service in services.items() if service["restart"] == "no"} == JOBS
    assert {services[name]["restart"] for name in {*facts.ROLES, *ENGINES}} == {"unless-stopped"}
    assert services["transaction-worker"]["deploy"]["replicas"] == 2


def test_images_are_those_of_the_lock(services: dict[str, dict[str, Any]]) -> None:
    """One image of ours; engines as images.lock names them, with a digest once it has one."""
    images = lock.read()
    assert {services[name]["image"] for name in ENGINES} == {images[name].reference for name in ENGINES}
    assert services["provision"]["image"] == images["postgres"].reference
    assert {services[name]["image"] for name in set(services) - ENGINES - {"provision"}} == {"payflow:dev"}


def test_the_database_has_connections_for_all(services: dict[str, dict[str, Any]]) -> None:
    """Every role, twice while it is replaced, and the jobs, with default settings."""
    [setting] = [part for part in services["postgres"]["command"] if part.startswith("--max_connections=")]
    replicas = {name: services[name]["deploy"].get("replicas", 1) for name in facts.ROLES}
    most = sum(2 * replicas[name] * role.database_connections_max for name, role in facts.ROLES.items())

    assert most + 2 * len(JOBS) < int(setting.partition("=")[2])


def test_the_database_is_durable(services: dict[str, dict[str, Any]]) -> None:
    """The settings that money depends on are those of the local stack."""
    command = services["postgres"]["command"]
    assert {"--fsync=on", "--synchronous_commit=on", "--full_page_writes=on"} <= set(command)
    assert {mount["source"] for mount in services["postgres"]["volumes"] if mount["type"] == "volume"} == {"postgres"}


def test_the_broker_and_the_cache_are_set_as_in_the_local_stack(services: dict[str, dict[str, Any]]) -> None:
    """What the tests of the broker rely on, and a cache that refuses instead of forgetting."""
    lines = set((FOLDER / "rabbitmq.conf").read_text().splitlines())
    local = set(rabbitmq.CONFIGURATION.replace("{heartbeat_seconds}", str(rabbitmq.HEARTBEAT_SECONDS)).splitlines())
    different = {"disk_free_limit.absolute = 1GB", "vm_memory_high_watermark.absolute = 600MB"}

    assert different == lines - local
    assert ["--maxmemory-policy", "noeviction"] == services["redis"]["command"][-2:]
    assert "maxmemory-policy noeviction" in redis.CONFIGURATION


def test_no_start_leaves_a_nameless_volume(project: dict[str, Any]) -> None:
    """Where an image of an engine declares a volume, its containers mount one of ours, or memory."""
    declared = {"postgres": "/var/lib/postgresql/data", "rabbitmq": "/var/lib/rabbitmq", "redis": "/data"}
    images = {lock.read()[name].reference: path for name, path in declared.items()}
    for name, service in project["services"].items():
        if service["image"] in images:
            mounts = {mount["target"]: mount["type"] for mount in service["volumes"]}
            assert mounts.get(images[service["image"]]) in {"volume", "tmpfs"}, name


def test_demo_mode_is_off_unless_it_is_chosen(services: dict[str, dict[str, Any]]) -> None:
    """Every role takes it from one variable, which is 0 by default; the job with the public passwords has a profile."""
    for name in facts.ROLES:
        assert services[name]["environment"]["PAYFLOW_DEMO"] == "0"
    assert services["demo-seed"]["profiles"] == ["demo"]


def test_every_variable_of_the_file_is_documented() -> None:
    """The page names each, except those that `make compose-up` sets itself."""
    variables = set(re.findall(r"\$\{(\w+)", FILE.read_text()))
    page = (ROOT / "docs/deploy/compose.md").read_text()

    own = {"PAYFLOW_DEPLOY", "PAYFLOW_FILES", "PAYFLOW_DEMO", "PAYFLOW_ALERTMANAGER_URL"}
    assert own == {name for name in variables if name not in page}
    networks = yaml.safe_load(FILE.read_text())["networks"]
    assert f"There are {len(networks)} of" in page
