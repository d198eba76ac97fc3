"""The profile `monitoring` of Compose: its containers, what they read, and what Prometheus scrapes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from deploy import programs
from deploy.compose.up import ALERTMANAGER
from deploy.local.home import REPOSITORY
from deploy.local.roles import IDENTITIES
from deploy.monitoring.prepare import prepare
from payflow.evidence import LOKI_STREAMS
from tests.harness import monitoring

SERVICES: dict[str, dict[str, Any]] = monitoring.read(REPOSITORY / "deploy" / "compose" / "monitoring.yaml")["services"]
SCRAPED = {
    job["job_name"]: job
    for job in monitoring.read(monitoring.FOLDER / "prometheus" / "prometheus.yml")["scrape_configs"]
}
WITH_DOCKER = ("cadvisor", "alloy")
"""They read the socket of Docker, which belongs to root."""

LOG_LABELS = ["service", "role", "level"]
DEPLOY = "${PAYFLOW_DEPLOY:-../../.deploy/compose}/"
HOST_FOLDERS = {
    "node-exporter": {"/"},
    "cadvisor": {"/", "/sys", "/var/lib/docker", "/var/run/docker.sock"},
    "alloy": {"/var/run/docker.sock"},
}
ELSEWHERE = {"rabbitmq"}
"""A service of compose.yaml."""

FOUND_BY_NAME = {"payflow": IDENTITIES, "backup": ("backup-metrics",)}
"""The jobs whose targets may be missing, or several."""

EACH = pytest.mark.parametrize("name", SERVICES)


def mounts(name: str) -> list[dict[str, Any]]:
    """The bind mounts of a service."""
    return [mount for mount in SERVICES[name].get("volumes", []) if mount["type"] == "bind"]


def test_every_role_is_scraped() -> None:
    """By its name, on its metrics port, and it gets the label `role`."""
    (discovery,) = SCRAPED["payflow"]["dns_sd_configs"]
    (relabel,) = SCRAPED["payflow"]["relabel_configs"]

    assert sorted(IDENTITIES) == sorted(discovery["names"])
    assert 9100 == discovery["port"]
    assert (["__meta_dns_name"], "role") == (relabel["source_labels"], relabel["target_label"])


def test_prometheus_starts_after_every_role() -> None:
    """A role that is still starting would be reported as down: seen with the stack on podman."""
    awaited = SERVICES["prometheus"]["depends_on"]

    assert sorted(IDENTITIES) == sorted(awaited)
    assert {"service_healthy"} == {each["condition"] for each in awaited.values()}


def test_every_exporter_is_scraped() -> None:
    """Each other target is a service, and each exporter is a target."""
    hosts = {
        target.partition(":")[0]
        for name, job in SCRAPED.items()
        if name not in FOUND_BY_NAME
        for config in job["static_configs"]
        for target in _reached(job, config)
    }

    assert hosts - ELSEWHERE - {"localhost"} <= set(SERVICES)
    assert {name for name in SERVICES if name.endswith("exporter")} | {"cadvisor", "alertmanager"} <= hosts


def test_backups_are_scraped_where_they_are_enabled() -> None:
    """The job names the service that measures them, with its port, in a network that Prometheus shares."""
    (discovery,) = SCRAPED["backup"]["dns_sd_configs"]
    service = monitoring.read(REPOSITORY / "deploy" / "compose" / "backup.yaml")["services"]["backup-metrics"]

    assert ["backup-metrics"] == discovery["names"]
    assert str(discovery["port"]) == service["command"][-1]
    assert set(service["networks"]) & set(SERVICES["prometheus"]["networks"])


def test_prometheus_reaches_what_it_scrapes() -> None:
    """It shares a network with each role, engine and exporter that it scrapes."""
    others = monitoring.read(REPOSITORY / "deploy" / "compose" / "compose.yaml")["services"]
    networks = {name: set(service.get("networks", ())) for name, service in (others | SERVICES).items()}
    targets = {
        target.partition(":")[0]
        for config in SCRAPED.values()
        for each in config.get("static_configs", ())
        for target in _reached(config, each)
    }

    unreachable = [
        name for name in (targets | set(IDENTITIES)) - {"localhost"} if not networks[name] & networks["prometheus"]
    ]
    assert unreachable == []


@EACH
def test_a_container_is_confined(name: str) -> None:
    """Only with the profile; read-only, without capabilities, with limits; pages are published on the loopback only."""
    service = SERVICES[name]

    assert ["monitoring"] == service["profiles"]
    assert service["read_only"]
    assert ["ALL"] == service["cap_drop"]
    assert ["no-new-privileges:true"] == service["security_opt"]
    assert {"cpus", "memory", "pids"} == set(service["deploy"]["resources"]["limits"])
    assert name in WITH_DOCKER or not service["user"].startswith(("0", "root"))
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@EACH
def test_a_container_reads_only_its_own_files(tmp_path: Path, name: str) -> None:
    """Each mounted file is prepared or is this container's folder of secrets, and cannot be written."""
    prepare(tmp_path)
    for mount in mounts(name):
        source = mount["source"]
        assert mount["read_only"]
        if source in HOST_FOLDERS.get(name, set()):
            continue
        assert source.startswith(DEPLOY), source
        path = source.removeprefix(DEPLOY)
        assert path == f"secrets/{name}" or (tmp_path / path).exists(), path
        assert not mount["bind"]["create_host_path"]


@EACH
def test_no_secret_is_in_the_environment(name: str) -> None:
    """Passwords are files: `docker inspect` shows the environment."""
    secret = [key for key in SERVICES[name].get("environment", {}) if "PASS" in key and not key.endswith("_FILE")]

    assert [] == secret


@pytest.mark.parametrize("name", ["compose.alloy", "kubernetes.alloy"])
def test_log_lines_have_three_labels(name: str) -> None:
    """Service, role and level: an id as a label would make a stream of each value. Loki refuses more than a few labels."""
    text = (monitoring.FOLDER / "loki" / name).read_text()
    limits = monitoring.read(monitoring.FOLDER / "loki" / "loki.yml")["limits_config"]

    assert [", ".join(f'"{label}"' for label in LOG_LABELS)] == re.findall(
        r"stage\.label_keep \{\s+values = \[(.*)\]", text
    )
    assert limits["max_label_names_per_series"] <= 5


@pytest.mark.parametrize("name", ["compose.alloy", "kubernetes.alloy"])
def test_every_stream_has_the_label_service(name: str) -> None:
    """`payflow ticket` reads streams with this label. A line that is no JSON has the name of its container or pod."""
    text = (monitoring.FOLDER / "loki" / name).read_text()
    (targets,) = re.findall(r"discovery\.relabel .*?^\}", text, flags=re.MULTILINE | re.DOTALL)
    (labels,) = re.findall(r"stage\.labels \{\s+values = \{(.*)\}", text)

    assert 'target_label  = "service"' in targets
    assert labels.startswith('service = "",')
    assert LOKI_STREAMS.startswith("{service=~")


def test_the_public_address_is_probed(tmp_path: Path) -> None:
    """With a public address, Prometheus probes it and so gets the end of its certificate; without one the list is empty."""
    (files,) = SCRAPED["blackbox"]["file_sd_configs"]
    (name,) = files["files"]
    path = tmp_path / "monitoring" / "prometheus" / name
    prepare(tmp_path)
    assert [] == json.loads(path.read_text())

    prepare(tmp_path, public_url="https://pay.example.org/")
    (target,) = json.loads(path.read_text())
    assert ["https://pay.example.org/livez"] == target["targets"]
    assert {"probe": "public"} == target["labels"]
    promtool = programs.find("promtool", hint="run `make programs`")
    programs.output([promtool, "check", "config", str(path.parents[1] / "prometheus.yml")], what="promtool")
    # The network that is not internal.
    assert "operators" in SERVICES["blackbox-exporter"]["networks"]


def test_the_gateway_reads_alerts_of_alertmanager() -> None:
    """Both are in the network `alerts`, and the address that `make compose-up MONITORING=1` sets is that of the container."""
    gateway = monitoring.read(REPOSITORY / "deploy" / "compose" / "compose.yaml")["services"]["gateway"]

    assert "${PAYFLOW_ALERTMANAGER_URL:-}" == gateway["environment"]["PAYFLOW_ALERTMANAGER_URL"]
    assert {"alerts"} == set(gateway["networks"]) & set(SERVICES["alertmanager"]["networks"])
    assert "http://alertmanager:9093" == ALERTMANAGER


def test_the_format_of_lnav_names_fields_of_our_lines() -> None:
    """Without Loki: the fields that the format gives a meaning are those of every line."""
    (made,) = [
        found
        for name, found in json.loads((monitoring.FOLDER / "lnav" / "payflow.json").read_text()).items()
        if name != "$schema"
    ]

    assert ("timestamp", "level", "event") == (made["timestamp-field"], made["level-field"], made["body-field"])


def _reached(job: dict[str, Any], config: dict[str, Any]) -> list[str]:
    """What Prometheus connects to: the targets, or the exporter that probes them."""
    replaced = [each["replacement"] for each in job.get("relabel_configs", ()) if each["target_label"] == "__address__"]
    return replaced or list(config["targets"])
