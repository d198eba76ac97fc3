"""The commands that the doctor runs for each target, and the one line when there is nothing to check.

Docker and MicroK8s are replaced by a program that prints what was recorded, and records its arguments.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deploy import facts
from deploy.doctor import __main__ as command
from deploy.doctor import cluster, compose, findings, periods
from deploy.doctor.targets import compose as compose_target
from deploy.doctor.targets import local, microk8s
from deploy.local import ports
from deploy.programs import exit_code
from tests.harness import cluster_samples

SAMPLES = Path(__file__).with_name("samples")
GET = "kubectl get --request-timeout=20s --ignore-not-found --output=json"
Stub = Callable[[str, dict[str, str]], Path]

SHELL = """\
#!/bin/sh
exec "{python}" -IS "{program}" "$@"
"""
"""The first line of a script cannot name an interpreter whose path has a space."""

PROGRAM = """\
import json, sys
from pathlib import Path
folder = Path({folder!r})
arguments = sys.argv[1:]
with (folder / "calls").open("a") as file:
    print(json.dumps(arguments), file=file)
line = " ".join(arguments)
for start, output in json.loads((folder / "outputs").read_text()).items():
    if line.startswith(start):
        sys.stdout.write(output)
        sys.exit(0)
sys.exit(f"no output recorded for {{line[:80]}}")
"""


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Installs a program with recorded outputs by the start of its command line; returns the file of its calls."""

    def install(name: str, outputs: dict[str, str]) -> Path:
        folder = tmp_path / f"{name}-recorded"
        folder.mkdir()
        (folder / "outputs").write_text(json.dumps(outputs))
        (folder / "program.py").write_text(PROGRAM.format(folder=str(folder)))
        program = tmp_path / name
        program.write_text(SHELL.format(python=sys.executable, program=folder / "program.py"))
        program.chmod(0o755)
        return folder / "calls"

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("deploy.programs.ENVIRONMENT_PROGRAMS", tmp_path)
    return install


@pytest.fixture(scope="module")
def built() -> list[cluster.Object]:
    """Built while PATH has the real kubectl; the samples keep it."""
    return list(cluster_samples.manifests())


def run(monkeypatch: pytest.MonkeyPatch, arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["doctor", *shlex.split(arguments)])
    return exit_code(command.main)


@pytest.mark.parametrize("arguments", ["compose", "compose --before"])
def test_missing_docker_is_one_line(
    arguments: str, stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing was checked: exit code 1, and how to get it."""
    assert 1 == run(monkeypatch, arguments)
    assert "payflow: docker is not installed: install Docker Engine" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", ["microk8s", "microk8s --before"])
def test_missing_microk8s_is_one_line(
    arguments: str, stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No other kubectl is tried: the current context of a user may be another cluster."""
    calls = stub("kubectl", {"": ""})

    assert 1 == run(monkeypatch, arguments)
    assert capsys.readouterr().err.startswith(
        "payflow: MicroK8s is not installed (sudo snap install microk8s --classic)"
    )
    assert not calls.exists()


def test_no_containers_is_one_line(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line has the command that starts them."""
    stub("docker", {"version": "29.0", "ps": ""})

    assert 1 == run(monkeypatch, "compose")
    assert "payflow: the Compose project payflow has no containers: start it with `make compose-up`\n" == (
        capsys.readouterr().err
    )


def test_compose_before_a_start(
    tmp_path: Path, stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Volumes without their secrets stop it, and a port in use too. Podman is taken where there is no Docker."""
    monkeypatch.setenv("PAYFLOW_DEPLOY", str(tmp_path / "deploy"))
    monkeypatch.setattr(ports, "is_free", lambda _port: False)
    podman = {"version": "4.3", "ps": "", "volume ls": "payflow_postgres\n", "info": '{"store": {"graphRoot": "/"}}'}
    stub("podman", podman)

    assert 1 == run(monkeypatch, "compose --before")
    text = capsys.readouterr().out
    assert "fail secrets: there is data (payflow_postgres), and" in text
    assert "fail ports: port 8000 is used by another program - stop it, or set PAYFLOW_GATEWAY_PORT" in text
    assert "warn images: not pinned by digest: docker.io/" in text


def test_an_empty_namespace_is_one_line(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line has the command that deploys."""
    stub("microk8s", {"status": cluster_samples.STATUS, "kubectl": '{"items": []}'})

    assert 1 == run(monkeypatch, "microk8s")
    assert (
        "payflow: nothing is deployed in the namespace payflow of MicroK8s: run `make microk8s-deploy`\n"
        == capsys.readouterr().err
    )


def test_no_local_stack_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line has the folder that was looked at."""
    monkeypatch.setenv("PAYFLOW_HOME", str(tmp_path))

    assert 1 == run(monkeypatch, "local")
    assert f"payflow: nothing is running in {tmp_path}: start it with `make run`\n" == capsys.readouterr().err


def test_a_free_port_is_needed_before_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--before` has what can be known without a stack, and changes nothing."""
    monkeypatch.setenv("PAYFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PAYFLOW_GATEWAY_PORT", str(ports.find_free()))
    free = list(local.before())
    monkeypatch.setattr(ports, "is_free", lambda _port: False)
    used = list(local.before())

    assert "ok" == next(finding.level for finding in free if finding.check == "ports")
    assert "fail" == next(finding.level for finding in used if finding.check == "ports")
    assert not (tmp_path / "home").exists()


def probe_output(**fields: Any) -> str:
    document = {"metrics": "", "ready": {"ok": [], "failing": []}, "edges": {}, "open_files": 20000, "at": None}
    return json.dumps(document | fields)


def test_microk8s_is_only_read(
    built: list[cluster.Object], stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only `microk8s status` and reading commands of `microk8s kubectl` are run, and no value of a Secret is read."""
    monkeypatch.setattr(microk8s, "build", lambda: built)
    listed = cluster_samples.objects(datetime.now(UTC))
    # One pod of each role is enough.
    objects = {"items": [each for each in listed if each["kind"] != "Pod" or each["metadata"]["name"].endswith("-0")]}
    calls = stub(
        "microk8s",
        {
            "status": cluster_samples.STATUS,
            f"{GET} deployments --namespace kube-system": json.dumps({"items": [cluster_samples.dns()]}),
            f"{GET} deployments,": json.dumps(objects),
            f"{GET} nodes": json.dumps({"items": []}),
            "kubectl get secrets --namespace payflow --output=name": "secret/auth-secrets\n",
            "kubectl get secret kube-prom-stack-grafana": "cHJvbS1vcGVyYXRvcg==",
            "kubectl exec --namespace payflow statefulset/postgres": "auth=0011\nmax_connections=400\n",
            "kubectl exec --namespace payflow": probe_output(),
        },
    )

    assert 1 == run(monkeypatch, "microk8s")
    text = capsys.readouterr().out
    assert "fail monitoring: Grafana in the namespace observability has the default password" in text
    assert "fail migrations: the database wallet has no revision" in text
    assert "fail secrets: missing: auth-migrate-secrets" in text
    assert "ok   add-ons: enabled: dns, hostpath-storage, registry, ingress" in text
    assert f"ok   roles: {len(facts.ROLES) - 1} roles" in text
    recorded = calls.read_text().splitlines()
    verbs = {tuple(word for word in json.loads(line) if word in ("status", "get", "exec")) for line in recorded}
    assert {("status",), ("get",), ("exec",)} == verbs
    assert not [line for line in recorded if '"get", "secrets"' in line and "--output=name" not in line]


def test_only_the_named_context_is_read(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A context that is not in the kubeconfig ends with one line; one that is there is named in every command."""
    calls = stub("kubectl", {"config get-contexts": "production\nstaging\n", "--context=staging": '{"items": []}'})

    assert 1 == run(monkeypatch, "microk8s --context=prod")
    assert (
        "payflow: there is no context prod in your kubeconfig: it has production, staging\n" == capsys.readouterr().err
    )
    assert 1 == run(monkeypatch, "microk8s --context=staging")
    assert "payflow: nothing is deployed in the namespace payflow of the context staging" in capsys.readouterr().err
    assert {"config", "--context=staging"} == {json.loads(line)[0] for line in calls.read_text().splitlines()}


def test_only_a_cluster_has_a_context(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The other targets are on this machine."""
    assert 1 == run(monkeypatch, "local --context=staging")
    assert "payflow: the target local has no context: it is on this machine\n" == capsys.readouterr().err


def test_commands_are_those_of_the_context() -> None:
    """Advice that can be copied must not lead to another cluster."""
    finding = findings.fail("pods", "waits", "microk8s kubectl -n payflow logs x")

    assert "kubectl --context=staging -n payflow logs x" == findings.for_context(finding, "staging").advice


def test_microk8s_before_a_deployment(
    built: list[cluster.Object], stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Add-ons, storage class, quotas and nodes against what the manifests declare."""
    monkeypatch.setattr(microk8s, "build", lambda: built)
    quota = {"kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": {"hard": {"pods": "3"}}}
    stub(
        "microk8s",
        {
            "status": cluster_samples.STATUS.replace("status: enabled", "status: disabled"),
            f"{GET} deployments --namespace kube-system": json.dumps({"items": []}),
            f"{GET} resourcequotas": json.dumps({"items": [quota]}),
            f"{GET} nodes": json.dumps({"items": cluster_samples.shared()}),
        },
    )

    assert 1 == run(monkeypatch, "microk8s --before")
    text = capsys.readouterr().out
    for line in (
        "fail add-ons: dns is not enabled: services find each other by name - microk8s enable dns",
        "fail dns: no DNS server of the cluster is ready",
        "fail quotas: the quota small allows pods 3",
        "ok   ingress: the gateway is published by a class that exists",
        "ok   storage: the storage class payflow-retain does not exist yet",
    ):
        assert line in text


def recorded(name: str) -> list[dict[str, Any]]:
    """Containers as `inspect` of Podman's Docker API showed them, without what the doctor does not read."""
    found: list[dict[str, Any]] = json.loads((SAMPLES / f"compose-{name}.json").read_text())
    return found


def project() -> list[dict[str, Any]]:
    return recorded("good")


def check_all(containers: list[dict[str, Any]]) -> list[str]:
    found = [
        *compose.check_running(containers, [*facts.ROLES, *compose_target.ENGINES]),
        *compose.check_jobs(containers, compose_target.JOBS),
        *compose.check_published(containers, public=frozenset({"gateway"})),
        *compose.check_image_ids(containers, facts.ROLES),
        *periods.check_stopping(compose.stopping(containers, facts.ROLES), drain=facts.PERIODS.stop_max),
    ]
    return [finding.sentence for finding in found if finding.level != "ok"]


def test_a_project_that_is_well_has_no_findings() -> None:
    """Recorded from the real Compose file under Podman, once as it was and once after the relay was killed."""
    assert [] == check_all(project())
    assert ["payflow-transaction-relay-1 is exited (exit code 137)"] == check_all(recorded("relay-killed"))


def test_compose_is_read_from_inspect(
    tmp_path: Path, stub: Stub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every role is probed in its container; the databases are read in that of PostgreSQL."""
    monkeypatch.setenv("PAYFLOW_DEPLOY", str(tmp_path / "deploy"))
    [postgres] = [each["Id"] for each in project() if compose.service(each) == "postgres"]
    calls = stub(
        "docker",
        {
            "version": "29.0",
            "info": '{"DockerRootDir": "/"}',
            "ps": "one\ntwo\n",
            "inspect": json.dumps(project()),
            f"exec {postgres}": "auth=0011\nmax_connections=40\n",
            "exec": probe_output(),
        },
    )

    assert 1 == run(monkeypatch, "compose")
    text = capsys.readouterr().out
    for line in (
        "ok   containers: 22 containers, all run and are healthy",
        "ok   one-shot jobs: every one-shot job has completed",
        "ok   stopping: every grace period",
        f"ok   roles: {len(facts.ROLES)} roles",
        "fail connections: the roles may open 99 connections, and max_connections leaves 25",
        "fail secrets:",
    ):
        assert line in text
    assert {"version", "info", "ps", "inspect", "exec"} == {
        json.loads(line)[0] for line in calls.read_text().splitlines()
    }


@pytest.mark.parametrize(
    ("service", "change", "line"),
    [
        ("wallet", {"State": {"Status": "exited", "ExitCode": 137}}, "payflow-wallet-1 is exited (exit code 137)"),
        (
            "wallet",
            {"State": {"Status": "running", "OOMKilled": True}},
            "payflow-wallet-1 was killed because it used too",
        ),
        (
            "wallet",
            {"State": {"Status": "running", "Health": {"Status": "unhealthy"}}},
            "payflow-wallet-1 is unhealthy",
        ),
        (
            "wallet",
            {"State": {"Status": "running", "Healthcheck": {"Status": "starting"}}},
            "payflow-wallet-1 is starting",
        ),
        (
            "redis",
            {"State": {"Status": "running", "Health": {"Status": "unhealthy"}}},
            "payflow-redis-1 is unhealthy",
        ),
        ("wallet", {"RestartCount": 7}, "payflow-wallet-1 was restarted 7 times"),
        ("wallet", {"Image": "sha256:2b"}, "the roles run 2 images: sha256:2b: wallet; sha256:f3a5c34e289e: auth"),
        (
            "auth-migrate",
            {"State": {"Status": "exited", "ExitCode": 1}},
            "the job auth-migrate failed with exit code 1",
        ),
        ("auth-migrate", {"State": {"Status": "running", "ExitCode": 0}}, "the job auth-migrate is running"),
        (
            "redis",
            {"NetworkSettings": {"Ports": {"6379/tcp": [{"HostIp": "", "HostPort": "6379"}]}}},
            "payflow-redis-1 is published at 0.0.0.0:6379",
        ),
    ],
)
def test_one_broken_container_is_one_line(service: str, change: dict[str, Any], line: str) -> None:
    """Samples in the form of `docker inspect`."""
    containers = [each | change if compose.service(each) == service else each for each in project()]

    assert [line] == [text[: len(line)] for text in check_all(containers)]


def test_docker_and_podman_name_their_folder_differently() -> None:
    """As `info --format json` of both prints it."""
    assert "/var/lib/docker" == compose.data_folder({"DockerRootDir": "/var/lib/docker", "Containers": 0})
    assert "/var/lib/containers/storage" == compose.data_folder({"store": {"graphRoot": "/var/lib/containers/storage"}})
    assert "/" == compose.data_folder({})


def test_a_missing_container_is_one_line() -> None:
    """A role or a job that Compose never made."""
    containers = [each for each in project() if compose.service(each) not in ("wallet", "provision")]

    assert ["there is no container of wallet"] == [
        finding.sentence for finding in compose.check_running(containers, list(facts.ROLES))
    ]
    assert ["the job provision has never run"] == [
        finding.sentence for finding in compose.check_jobs(containers, compose_target.JOBS)
    ]


def test_a_container_without_a_grace_period_has_that_of_docker() -> None:
    """10 s, which is shorter than a role needs."""
    [wallet] = [each for each in project() if compose.service(each) == "wallet"]
    wallet["Config"]["StopTimeout"] = None

    assert [10.0] == [each.grace for each in compose.stopping([wallet], ["wallet"])]


def test_the_configured_age_of_the_reversal_is_read() -> None:
    """From the environment of the transaction service; else the default of the code."""
    containers = project()
    [transaction] = [each for each in containers if compose.service(each) == "transaction"]

    assert 60.0 == compose.reversal_after(containers, 60.0)
    transaction["Config"]["Env"].append("PAYFLOW_REVERSAL_AFTER_SECONDS=20")
    assert 20.0 == compose.reversal_after(containers, 60.0)
