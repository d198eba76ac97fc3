"""Settings, secrets and images of the manifests are those that the code reads and the tools write."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy import facts
from deploy.image import lock
from deploy.local.engines import postgres, rabbitmq, redis
from deploy.secrets import files
from services.gateway.address import parse_networks
from services.gateway.settings import CONNECTIONS_MAX
from tests.deploy.k8s.manifests import K8S, Workload, microk8s, of_kind, workloads

WORKERS_MAX = 8
"""Workers of the transaction service when KEDA scales them."""

RESERVED_CONNECTIONS = 3
"""For superusers, by default."""


def processes() -> list[Workload]:
    """The pods of roles and migrations."""
    return [pod for pod in workloads(microk8s()) if pod.name in facts.PROCESSES]


def secret_files(pod: Workload) -> set[str]:
    """The files that the tool for secrets writes for a container."""
    return set(written()[pod.name])


@cache
def written() -> dict[str, tuple[str, ...]]:
    """The files that the tool for secrets writes, by container."""
    with TemporaryDirectory() as folder:
        return files.write(Path(folder))


def test_every_variable_is_a_setting() -> None:
    """A container gets no variable that its role does not read."""
    for pod in processes():
        assert set(pod.environment) - set(facts.PROCESSES[pod.name].variables) == set()


def test_every_required_setting_is_given() -> None:
    """Everything without which a role does not start comes from the manifest or from its Secret, and from one of them only."""
    for pod in processes():
        files = {name.upper() for name in secret_files(pod)}

        assert facts.PROCESSES[pod.name].required - set(pod.environment) - files == set()
        assert set(pod.environment) & files == set()
        assert files <= set(facts.PROCESSES[pod.name].variables)


def test_no_secret_is_in_a_manifest() -> None:
    """A setting that is secret is never a variable."""
    for pod in processes():
        assert facts.PROCESSES[pod.name].secrets & set(pod.environment) == set()


def test_values_are_valid() -> None:
    """The settings class accepts the values of the manifest."""
    for pod in processes():
        settings = facts.PROCESSES[pod.name].settings
        for name, text in pod.environment.items():
            if text is not None:
                field = name.removeprefix("PAYFLOW_").lower()
                settings.__pydantic_validator__.validate_assignment(settings.model_construct(), field, text)


def test_addresses_name_a_service() -> None:
    """The address of another service is that of its Service, at its port."""
    for pod in processes():
        services = of_kind(microk8s(), "Service")
        for service in facts.PROCESSES[pod.name].upstreams:
            (port,) = services[service]["spec"]["ports"]
            assert pod.environment[f"PAYFLOW_{service.upper()}_URL"] == f"http://{service}:{port['port']}"


def test_secrets_are_those_that_are_written() -> None:
    """A pod mounts the Secret of its own name, and no other one; what copies the data of a stopped server needs none."""
    for pod in workloads(microk8s()):
        names = [volume["secret"]["secretName"] for volume in pod.pod["volumes"] if "secret" in volume]

        if pod.name == "restore":
            assert names == []
            continue
        assert names == [f"{pod.name}-secrets"]
        assert pod.name in written()
        mounts = [mount for mount in pod.container["volumeMounts"] if mount["name"] == "secrets"]
        assert all(mount["readOnly"] for mount in mounts)
        for mount in mounts:
            assert mount["mountPath"] == "/run/secrets" or mount["subPath"] in secret_files(pod)


def test_images_are_locked() -> None:
    """An image that is not built here is that of images.lock, with its digest once it has one."""
    for pod in workloads(microk8s()):
        image = pod.container["image"]

        assert image == "payflow" or image in {locked.reference for locked in lock.read().values()}
        assert pod.container["imagePullPolicy"] == "IfNotPresent"


def test_the_gateway_trusts_its_proxies() -> None:
    """The gateway takes addresses of clients from the pod network alone, and counts connections of proxies as all clients'."""
    gateway = next(pod for pod in workloads(microk8s()) if pod.name == "gateway")

    assert parse_networks(gateway.environment["PAYFLOW_TRUSTED_PROXIES"] or "")
    assert int(gateway.environment["PAYFLOW_CONNECTIONS_PER_ADDRESS_MAX"] or 0) == CONNECTIONS_MAX


def test_postgres_has_the_settings_of_the_local_stack() -> None:
    """Durability and limits are those with which the tests run; PostgreSQL has more connections here."""
    args = dict(re.findall(r"--(\w+)=(\S+)", " ".join(_pod("postgres").container["args"])))
    local = postgres.SETTINGS

    for name in (
        "fsync",
        "synchronous_commit",
        "full_page_writes",
        "password_encryption",
        "shared_buffers",
        "timezone",
    ):
        assert args[name] == local[name], name
    # The last two are for backups.
    assert set(args) - {"hba_file", "max_slot_wal_keep_size"} <= set(local)
    assert _pod("postgres").environment["POSTGRES_USER"] == postgres.SUPERUSER


def test_postgres_has_connections_for_all() -> None:
    """Every role with all its copies, one more of each during an update, and all workers fit into max_connections."""
    args = dict(re.findall(r"--(\w+)=(\S+)", " ".join(_pod("postgres").container["args"])))
    needed = 0
    for pod in processes():
        copies = {"Deployment": pod.resource["spec"].get("replicas", 0) + 1, "CronJob": 3, "Job": 1}[pod.kind]
        copies = WORKERS_MAX + 1 if pod.name == "transaction-worker" else copies
        needed += copies * facts.PROCESSES[pod.name].database_connections_max

    assert needed + RESERVED_CONNECTIONS <= int(args["max_connections"])


def test_rabbitmq_has_the_settings_of_the_local_stack() -> None:
    """The heartbeat is that of the local broker, the memory mark is below the limit of the container, the user is PayFlow's."""
    text = (K8S / "overlays/microk8s/rabbitmq.conf").read_text()

    # Keys that the local broker, which the tests run, accepts.
    assert set(re.findall(r"^\S+", text, re.MULTILINE)) <= set(
        re.findall(r"^\S+", rabbitmq.CONFIGURATION, re.MULTILINE)
    )
    assert f"heartbeat = {rabbitmq.HEARTBEAT_SECONDS}\n" in text
    assert "vm_memory_high_watermark.absolute = 600MB\n" in text
    assert _pod("rabbitmq").container["resources"]["limits"]["memory"] == "1Gi"


def test_redis_has_the_settings_of_the_local_stack() -> None:
    """Redis writes a file and evicts nothing, as locally."""
    text = " ".join(_pod("redis").container["args"])

    for line in redis.CONFIGURATION.splitlines():
        if line.startswith(("append", "maxmemory-policy", "save")):
            assert f"--{line}" in text, line


def _pod(name: str) -> Workload:
    return next(pod for pod in workloads(microk8s()) if pod.name == name)
