"""The deploy command with the real kubectl, against a stand-in for the API server: what it requests, and in which order."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.k8s import __main__, commands
from deploy.k8s import cluster as clusters
from deploy.secrets import files as secret_files
from tests.deploy.k8s import api_server
from tests.deploy.k8s.api_server import Cluster
from tests.deploy.k8s.manifests import KUBECTL

IMAGE = "registry.example.com/payflow:1.0"
NAMESPACE = ("Namespace", "payflow")


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine with MicroK8s, whose secrets are in a folder of the test."""

    cluster: Cluster
    folder: Path

    def deploy(self, *arguments: str) -> int:
        """Run the command; returns its exit code."""
        return __main__.main([*arguments, "deploy"])


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine where `microk8s` is on the path and reaches the stand-in, and where a kubeconfig names another context."""
    cluster = Cluster()
    for plural, kind, name, namespace in (
        ("deployments", "Deployment", "coredns", "kube-system"),
        ("deployments", "Deployment", "hostpath-provisioner", "kube-system"),
        ("ingressclasses", "IngressClass", "public", None),
    ):
        cluster.add(plural, kind, name, namespace)
    with api_server.running(cluster) as address:
        api_server.write_kubeconfig(tmp_path / "microk8s.config", address, context="microk8s")
        program = tmp_path / "bin" / "microk8s"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nshift\nexec "{KUBECTL}" --kubeconfig="{tmp_path}/microk8s.config" "$@"\n')
        program.chmod(0o755)
        # The kubeconfig of the user: a cluster that nothing may touch.
        api_server.write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:9", context="production")
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("PAYFLOW_IMAGE", IMAGE)
        monkeypatch.setattr(secret_files, "FOLDER", tmp_path.resolve() / ".deploy")
        yield Machine(cluster, tmp_path.resolve() / ".deploy" / "microk8s")


FEW = (
    ("v1", "Namespace", "payflow"),
    ("v1", "ConfigMap", "rabbitmq"),
    ("apps/v1", "StatefulSet", "postgres"),
    ("batch/v1", "Job", "provision"),
    ("batch/v1", "Job", "wallet-migrate"),
    ("apps/v1", "Deployment", "wallet"),
    ("batch/v1", "CronJob", "transaction-reversal"),
)


@pytest.fixture
def small_machine(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The machine, with a few resources to deploy to a cluster that has been checked: the order is the same."""
    resources = [
        {
            "apiVersion": version,
            "kind": kind,
            "metadata": {
                "name": name,
                "labels": {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "payflow"},
                **({} if kind == "Namespace" else {"namespace": "payflow"}),
            },
            "spec": {},
        }
        for version, kind, name in FEW
    ]
    monkeypatch.setattr(commands, "render", lambda *_arguments, **_options: resources)
    monkeypatch.setattr(commands, "check_cluster", lambda _cluster, **_options: frozenset())
    monkeypatch.setattr(commands, "require_secrets", lambda _cluster, _folder: None)
    return machine


def kinds(entries: list[tuple[str, str]]) -> list[str]:
    """The kinds in order, each once."""
    return list(dict.fromkeys(kind for kind, _ in entries))


def test_the_first_deployment(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything is tried, then applied: engines, then databases, then migrations, then roles."""
    assert machine.deploy() == 0

    applied = machine.cluster.applied
    assert applied[0] == NAMESPACE, "a namespace for the trial"
    assert set(machine.cluster.tried) == set(applied)
    engines = [index for index, (kind, _) in enumerate(applied) if kind == "StatefulSet"]
    jobs = [index for index, (kind, _) in enumerate(applied) if kind == "Job"]
    roles = [index for index, (kind, _) in enumerate(applied) if kind in {"Deployment", "CronJob"}]
    assert max(engines) < jobs[0]
    assert applied[jobs[0]][1].startswith("provision-1-0-")
    assert max(jobs) < min(roles)
    assert (machine.folder / secret_files.STORE).exists()
    assert "http://localhost" in capsys.readouterr().out


def test_jobs_of_other_versions_are_removed(small_machine: Machine) -> None:
    """An update removes the ended Jobs of the version before; one that still runs stays."""
    for name, state in (("wallet-migrate-0", "Complete"), ("auth-migrate-0", "Suspended")):
        small_machine.cluster.add("jobs", "Job", name, "payflow")
        old = small_machine.cluster.stored["jobs", name]
        old["metadata"]["labels"] = {"app.kubernetes.io/part-of": "payflow", "app.kubernetes.io/component": "job"}
        old["status"] = {"conditions": [{"type": state, "status": "True"}]}

    assert small_machine.deploy() == 0
    assert small_machine.cluster.deleted == [("jobs", "wallet-migrate-0")]


def test_a_refusal_leaves_nothing(small_machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """If the API server refuses one resource, none is applied, and the namespace of the trial is removed again."""
    small_machine.cluster.refused = frozenset({"wallet"})

    assert small_machine.deploy() == 1
    assert small_machine.cluster.applied == [NAMESPACE]
    assert small_machine.cluster.deleted == [("namespaces", "payflow")]
    assert "the trial on MicroK8s failed" in capsys.readouterr().err.splitlines()[-1]


def test_a_pod_that_the_namespace_refuses_is_found(small_machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a Deployment whose pods violate Pod Security the API server only warns: the trial fails all the same."""
    small_machine.cluster.violating = frozenset({"wallet"})

    assert small_machine.deploy() == 1
    assert small_machine.cluster.applied == [NAMESPACE]
    (line,) = capsys.readouterr().err.splitlines()
    assert line == 'payflow: the trial on MicroK8s failed: would violate PodSecurity "restricted:latest": privileged'


def test_a_refused_update_leaves_what_runs(small_machine: Machine) -> None:
    """If there is a namespace already, a refusal does not remove it."""
    small_machine.cluster.add("namespaces", "Namespace", "payflow")
    small_machine.cluster.refused = frozenset({"wallet"})

    assert small_machine.deploy() == 1
    assert (small_machine.cluster.applied, small_machine.cluster.deleted) == ([], [])


def test_a_failed_migration_leaves_the_roles(small_machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """After a failed migration the roles that run are not touched, and one line has the command for the log of the Job."""
    small_machine.cluster.failing_jobs = frozenset({"wallet-migrate"})

    assert small_machine.deploy() == 1
    assert not {"Deployment", "CronJob"} & set(kinds(small_machine.cluster.applied))
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "payflow: wallet-migrate failed; see: microk8s kubectl -n payflow logs job/wallet-migrate"


def test_a_failed_job_runs_again(small_machine: Machine) -> None:
    """The next attempt removes a Job that has failed, although its name is the same, so that it runs again."""
    small_machine.cluster.failing_jobs = frozenset({"wallet-migrate"})
    assert small_machine.deploy() == 1

    small_machine.cluster.failing_jobs = frozenset()
    assert small_machine.deploy() == 0
    assert small_machine.cluster.deleted == [("jobs", "wallet-migrate")]


def test_missing_add_ons(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Missing add-ons are one line with the command that enables them, and nothing happens."""
    machine.cluster.stored.clear()

    assert machine.deploy() == 1
    assert capsys.readouterr().err == "payflow: add-ons are missing: microk8s enable dns hostpath-storage ingress\n"
    assert (machine.cluster.applied, machine.cluster.tried) == ([], [])
    assert not machine.folder.exists()


def test_an_old_cluster(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """A cluster that is too old is one line."""
    machine.cluster.minor = "29"

    assert machine.deploy() == 1
    assert "runs Kubernetes 1.29; the manifests need 1.32 or newer" in capsys.readouterr().err


def test_data_without_secrets(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Where there are data, missing secrets are not generated again: no role could log in."""
    machine.cluster.add("persistentvolumeclaims", "PersistentVolumeClaim", "data-postgres-0", "payflow")

    assert machine.deploy() == 1
    assert "secrets.json is missing: restore it from a backup" in capsys.readouterr().err
    assert machine.cluster.tried == []
    assert not (machine.folder / secret_files.STORE).exists()


def test_data_without_a_secret(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """The same holds for a single secret that the data depend on."""
    machine.cluster.add("persistentvolumeclaims", "PersistentVolumeClaim", "data-postgres-0", "payflow")
    machine.folder.mkdir(parents=True)
    store = machine.folder / secret_files.STORE
    store.write_text('{"postgres:payflow": "7f1e29ab55d0c3", "rabbitmq": "b2a90c77ee4513"}')

    assert machine.deploy() == 1
    assert "secrets.json has no auth_secret: restore it from a backup" in capsys.readouterr().err
    assert "auth_secret" not in store.read_text()


def test_without_microk8s(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without MicroK8s one line says so. The current context of the kubeconfig is not used."""
    monkeypatch.setenv("PATH", str(KUBECTL.parent))

    assert machine.deploy() == 1
    assert capsys.readouterr().err.startswith("payflow: MicroK8s is not installed")


def test_without_docker(
    small_machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without Docker one line says so, and that an image can be named; nothing was written or applied."""
    monkeypatch.delenv("PAYFLOW_IMAGE")
    monkeypatch.setenv("PATH", os.environ["PATH"].partition(":")[0])

    assert small_machine.deploy() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("payflow: docker is not installed: ")
    assert line.endswith("PAYFLOW_IMAGE=registry/payflow:tag")
    assert small_machine.cluster.applied == []
    assert not small_machine.folder.exists()


def test_a_context_must_exist(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """A context that the kubeconfig does not have is one line that names those it has."""
    assert machine.deploy("--context=staging") == 1
    assert capsys.readouterr().err == ("payflow: there is no context staging in your kubeconfig: it has production\n")


def test_the_named_context_is_used(small_machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster of the named context is deployed to, although another context is current."""
    folder = small_machine.folder.parents[1]
    monkeypatch.setenv("KUBECONFIG", f"{folder}/kubeconfig:{folder}/microk8s.config")

    assert small_machine.deploy("--context=microk8s") == 0
    assert ("Deployment", "wallet") in small_machine.cluster.applied


def test_resources_are_only_json(tmp_path: Path) -> None:
    """Kubectl gets one JSON document a line: that of Kubernetes 1.32 refuses `---` between them."""
    program = tmp_path / "kubectl"
    program.write_text(f'#!/bin/sh\ncat > "{tmp_path}/received"\n')
    program.chmod(0o755)
    resources = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}} for name in "ab"]

    clusters.Cluster((str(program),), None).apply(resources)

    assert [json.loads(line) for line in (tmp_path / "received").read_text().splitlines()] == resources


def test_an_unreachable_cluster(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """A named cluster that does not respond is one line; MicroK8s is not used in its place."""
    assert machine.deploy("--context=production") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("payflow: connecting to the context production failed")
    assert (machine.cluster.applied, machine.cluster.tried) == ([], [])


def test_another_cluster_needs_an_image(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The registry of this machine is not that of another cluster, so its image must be named."""
    monkeypatch.delenv("PAYFLOW_IMAGE")

    assert machine.deploy("--context=production") == 1
    assert "needs an image from a registry that it can reach" in capsys.readouterr().err


def test_https_without_cert_manager(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """HTTPS needs cert-manager, and one line says how to enable it."""
    assert __main__.main(["deploy", "--host=pay.example.com", "--tls=1"]) == 1
    assert capsys.readouterr().err == "payflow: TLS=1 needs cert-manager: microk8s enable cert-manager\n"
    assert not machine.folder.exists(), "it is not remembered"


def test_delete_keeps_the_data(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Deleting removes workloads and keeps claims; without a confirmation it removes nothing."""
    machine.cluster.add("namespaces", "Namespace", "payflow")
    machine.cluster.add("deployments", "Deployment", "wallet", "payflow")
    machine.cluster.add("persistentvolumeclaims", "PersistentVolumeClaim", "data-postgres-0", "payflow")
    monkeypatch.setattr("builtins.input", lambda _question: "n")
    monkeypatch.delenv("YES", raising=False)
    assert __main__.main(["delete"]) == 1
    assert machine.cluster.deleted == []

    monkeypatch.setenv("YES", "1")
    assert __main__.main(["delete"]) == 0
    assert ("deployments", "wallet") in machine.cluster.deleted
    assert "data-postgres-0" in capsys.readouterr().out
    assert ("persistentvolumeclaims", "data-postgres-0") in machine.cluster.stored
    assert set(commands.REMOVED) & {"persistentvolumeclaims", "persistentvolumes", "namespaces"} == set()
