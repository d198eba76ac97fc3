"""What podman plays is what the manifests say."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import facts
from deploy.compose.project import FILE
from deploy.rehearsal import images, kube, leftovers


@pytest.fixture(scope="module")
def deployments() -> dict[str, dict[str, Any]]:
    """The Deployments of deploy/k8s/base."""
    return kube.deployments()


def test_every_role_but_the_reversal_is_played(deployments: dict[str, dict[str, Any]]) -> None:
    """The reversal is a CronJob, which podman does not know; each other role has a Compose service whose networks it uses."""
    services = yaml.safe_load(FILE.read_text())["services"]

    assert set(deployments) == set(facts.ROLES) - {"transaction-reversal"}
    assert set(deployments) <= set(services)


def test_names_image_ports_probes_and_replicas_differ(deployments: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """Arguments, environment, user, capabilities, limits and mounts are played as they are applied to a cluster."""
    (tmp_path / "wallet").mkdir()
    (tmp_path / "wallet" / "payflow_wallet_database_url").write_text("postgresql://…")
    played = yaml.safe_load(kube.manifest(deployments["wallet"]))
    secret = yaml.safe_load(kube.secret("wallet", tmp_path))
    expected = copy.deepcopy(deployments["wallet"])
    expected["spec"]["replicas"] = 1
    pod = expected["spec"]["template"]["spec"]
    pod["containers"][0]["image"] = images.PAYFLOW
    for field in ("ports", "startupProbe", "livenessProbe", "readinessProbe"):
        del pod["containers"][0][field]
    for each in (*pod["volumes"], *pod["containers"][0]["volumeMounts"]):
        each["name"] = f"wallet-{each['name']}"
    next(each["secret"] for each in pod["volumes"] if "secret" in each)["optional"] = False

    assert played == expected
    assert secret["data"] == {"payflow_wallet_database_url": "postgresql://…"}


def test_cgroups_of_pods_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that a rehearsal made, deepest first; those of an earlier podman stay."""
    monkeypatch.setattr(leftovers, "CGROUPS", (f"{tmp_path}/*/libpod_parent",))
    (tmp_path / "cpu" / "libpod_parent" / "earlier").mkdir(parents=True)
    before = {f"cgroup {tmp_path}/cpu/libpod_parent"}
    (tmp_path / "memory" / "libpod_parent" / "pod" / "container").mkdir(parents=True)
    leftovers.remove_cgroups(before)

    assert (tmp_path / "cpu" / "libpod_parent" / "earlier").exists()
    assert not (tmp_path / "memory" / "libpod_parent").exists()
