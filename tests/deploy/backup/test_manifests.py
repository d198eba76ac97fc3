"""The backups in the manifests and the Compose file."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.deploy.k8s.manifests import microk8s, of_kind, workloads

ROOT = Path(__file__).parents[3]


def test_server_lets_backups_log_in() -> None:
    """PostgreSQL for MicroK8s has the logins of the one for Compose, and cannot fill its disk for a receiver that is down."""
    logins = of_kind(microk8s(), "ConfigMap")["postgres-logins"]
    (server,) = [pod for pod in workloads(microk8s()) if pod.name == "postgres"]

    assert logins["data"]["pg_hba.conf"] == (ROOT / "deploy" / "postgres" / "pg_hba.conf").read_text()
    assert "--hba_file=/etc/payflow/pg_hba.conf" in server.container["args"]
    assert any(argument.startswith("--max_slot_wal_keep_size=") for argument in server.container["args"])


def test_every_login_needs_a_password() -> None:
    """PostgreSQL in a container trusts no connection, and only payflow_backup may copy the server."""
    lines = (ROOT / "deploy" / "postgres" / "pg_hba.conf").read_text().splitlines()
    rules = [line.split() for line in lines if not line.startswith("#")]

    assert {rule[-1] for rule in rules} == {"scram-sha-256"}
    assert [rule[2] for rule in rules if rule[1] == "replication"] == ["payflow_backup"]


def test_a_week_of_backups_is_kept() -> None:
    """Each night all but the newest seven base backups are removed, on MicroK8s and with Compose."""
    (nightly,) = [pod for pod in workloads(microk8s()) if (pod.kind, pod.name) == ("CronJob", "backup")]
    compose = yaml.safe_load((ROOT / "deploy/compose/backup.yaml").read_text())["services"]["backup-nightly"]

    assert [command[-2:] for command in (nightly.container["command"], compose["command"])] == 2 * [["nightly", "7"]]


@pytest.mark.parametrize("name", ["restore", "compare", "reset"])
def test_steps_of_a_restore_never_run_by_themselves(name: str) -> None:
    """The CronJobs of a restore are suspended: a person makes a Job of one of them."""
    cron_job = of_kind(microk8s(), "CronJob")[name]

    assert cron_job["spec"]["suspend"] is True
    assert cron_job["spec"]["jobTemplate"]["spec"]["backoffLimit"] == 0


def test_backups_are_kept_when_their_claim_is_deleted() -> None:
    """The volume of the backups outlives its claim, as that of the data does."""
    claim = of_kind(microk8s(), "PersistentVolumeClaim")["backups"]

    assert of_kind(microk8s(), "StorageClass")[claim["spec"]["storageClassName"]]["reclaimPolicy"] == "Retain"


def test_one_script_everywhere() -> None:
    """The containers run the script that the drill runs."""
    scripts = [resource for resource in of_kind(microk8s(), "ConfigMap").values() if "backup.sh" in resource["data"]]

    assert [script["data"]["backup.sh"] for script in scripts] == [(ROOT / "deploy/backup/backup.sh").read_text()]


def test_removal_of_a_deployment_keeps_its_backups() -> None:
    """The volume of the backups is not one that make compose-down VOLUMES=1 removes, and only by-hand services write data."""
    backups = yaml.safe_load((ROOT / "deploy/compose/backup.yaml").read_text())

    assert backups["volumes"]["backups"]["external"] is True
    started = [name for name, service in backups["services"].items() if service["profiles"] == ["backup"]]
    assert started == ["backup", "backup-metrics"]
    assert all(mount["read_only"] for mount in backups["services"]["backup-metrics"]["volumes"])
    for name, service in backups["services"].items():
        mounted = {mount.get("source"): mount for mount in service["volumes"]}
        assert ("postgres" in mounted) is (name == "restore")
        if name == "restore":
            assert mounted["backups"]["read_only"] is True
