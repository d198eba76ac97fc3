"""The doctor with the real kubectl, against a stand-in for the API server. It cannot run commands in pods."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.doctor.targets import microk8s
from deploy.secrets import files as secret_files
from tests.deploy.k8s import api_server
from tests.deploy.k8s.api_server import Cluster
from tests.harness import cluster_samples

PLURALS = {"Node": "nodes", "IngressClass": "ingressclasses", "StorageClass": "storageclasses"}


def test_kubectl_accepts_what_the_doctor_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a deployment to a named context; the current context of the kubeconfig is another one."""
    cluster = Cluster()
    for each in cluster_samples.shared():
        cluster.stored[PLURALS[each["kind"]], each["metadata"]["name"]] = each
    cluster.stored["deployments", "coredns"] = cluster_samples.dns()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(secret_files, "FOLDER", tmp_path)
    with api_server.running(cluster) as address:
        api_server.write_kubeconfig(tmp_path / "kubeconfig", address, context="staging")
        found = list(microk8s.before("staging"))

    assert ["images"] == [each.check for each in found if each.level != "ok"]
    assert "ok   dns: coredns is ready" in list(map(str, found))
    assert ([], []) == (cluster.applied, cluster.deleted)
