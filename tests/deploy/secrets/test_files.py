from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings

from deploy import facts
from deploy.local.engines import postgres
from deploy.programs import DeployError
from deploy.secrets import consumers, files
from deploy.secrets.store import Secrets

ROOT = Path(__file__).parents[3]
NAMES = consumers.process_names()
ADDRESSES: dict[str, Any] = {
    name: f"http://{name.partition('_')[0]}:8000"
    for name in ("auth_url", "wallet_url", "transaction_url", "notification_url", "gateway_url")
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deploy") / "compose"
    files.write(folder)
    return folder


@pytest.fixture(params=[0o000, 0o077], ids=["open", "closed"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> str:
    return oct(path.stat().st_mode & 0o777)


@pytest.mark.parametrize("name", NAMES)
def test_a_role_starts_from_its_files(folder: Path, name: str) -> None:
    """Every required setting of a role or migrate job is in its files, except the addresses of other services."""
    settings: type[BaseSettings] = facts.PROCESSES[name].settings

    read = settings(_secrets_dir=folder / "secrets" / name, **ADDRESSES)

    names = {path.name.removeprefix("payflow_") for path in (folder / "secrets" / name).iterdir()}
    assert names <= read.model_fields_set


def test_every_secret_setting_is_written_or_is_the_operators(folder: Path) -> None:
    """A new secret in a settings class is generated, or it is the mail server's address, which cannot be."""
    wanted = {f"payflow_{field}" for name in NAMES for field in consumers.setting_fields(name)}
    written = {path.name for name in NAMES for path in (folder / "secrets" / name).iterdir()}

    assert {"payflow_smtp_url"} == wanted - written


def test_a_container_knows_the_passwords_it_needs_and_no_other(folder: Path) -> None:
    """Each password and key is in the files of its own containers only."""
    held = defaultdict(set)
    values = json.loads((folder / files.STORE).read_text())
    for path in (folder / "secrets").glob("*/*"):
        for name, value in values.items():
            if value in path.read_text():
                held[name].add(path.parent.name)

    assert held["postgres:payflow"] == {"postgres", "provision"}
    assert held["postgres:payflow_auth"] == {"auth", "provision", "demo-seed"}
    assert held["postgres:payflow_wallet"] == held["postgres:payflow_wallet_proof"] == {"wallet", "provision"}
    assert held["postgres:payflow_wallet_seal"] == {"wallet-seal", "provision"}
    assert held["postgres:payflow_monitor"] == {"postgres-exporter", "provision"}
    assert held["postgres:payflow_backup"] == {"backup", "provision"}
    assert held["postgres:payflow_scaler"] == {"scaler", "provision"}
    for service in postgres.DATABASES:
        assert held[f"postgres:payflow_{service}_owner"] == {f"{service}-migrate", "provision", "compare", "reset"}
    for name in facts.ROLES:
        assert held[f"service_key:{name}"] == {name}
    assert held["auth_secret"] == {"auth"}
    assert held["canary_secret"] == {"canary", "auth"}
    assert held["redis"] == {"redis", "gateway", "auth", "notification-worker", "redis-exporter", "reset"}
    assert held["rabbitmq"] == {
        "reset",
        *("rabbitmq", "transaction", "transaction-relay", "transaction-worker"),
        *("notification", "notification-worker"),
    }


def test_files_can_be_read_by_a_container_and_by_no_other_user(tmp_path: Path, umask: int) -> None:
    """Whatever the umask: mode 0444 in folders of mode 0755, and the two folders above them are closed."""
    files.write(tmp_path / "compose")

    secrets = tmp_path / "compose/secrets"
    assert {"0o444"} == {mode(path) for path in secrets.glob("*/*")}
    assert {"0o755"} == {mode(path) for path in secrets.iterdir()}
    assert ["0o700", "0o700", "0o600"] == [
        mode(path) for path in (secrets.parent, secrets, secrets.parent / files.STORE)
    ]


def test_secrets_are_generated_once(tmp_path: Path) -> None:
    """Writing again changes no secret and replaces no file."""
    files.write(tmp_path)
    before = {path: (path.read_text(), path.stat().st_ino) for path in tmp_path.rglob("*") if path.is_file()}

    files.write(tmp_path)

    assert before == {path: (path.read_text(), path.stat().st_ino) for path in tmp_path.rglob("*") if path.is_file()}


def test_a_value_of_the_operator_is_used(tmp_path: Path) -> None:
    """A changed password and a mail server in secrets.json are in the files after the next run; the rest stays."""
    files.write(tmp_path)
    before = json.loads((tmp_path / files.STORE).read_text())
    changed = before | {"redis": "chosen-by-hand-1", "smtp_url": "smtp://u:p@mail.example.com:587"}
    (tmp_path / files.STORE).write_text(json.dumps(changed))

    files.write(tmp_path)

    assert (tmp_path / "secrets/redis/redis.conf").read_text() == "requirepass chosen-by-hand-1\n"
    assert "chosen-by-hand-1" in (tmp_path / "secrets/gateway/payflow_redis_url").read_text()
    for name in ("notification-worker", "notification-deliver"):
        assert (tmp_path / "secrets" / name / "payflow_smtp_url").read_text() == changed["smtp_url"]
    assert json.loads((tmp_path / files.STORE).read_text()) == changed


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("redis", "short"),
        ("rabbitmq", "with # a comment"),
        ("postgres:payflow_auth", "quote'quote'quote"),
        ("service_key:wallet", "not base64 at all"),
        ("service_key:wallet", "c2hvcnQ="),
    ],
)
def test_an_unusable_value_is_named_and_never_printed(tmp_path: Path, name: str, value: str) -> None:
    """The line says which value cannot be used; no file is written from it."""
    (tmp_path / files.STORE).write_text(json.dumps({name: value}))

    with pytest.raises(DeployError, match=name) as raised:
        files.write(tmp_path)

    assert value not in str(raised.value)
    assert not list(tmp_path.glob("secrets/*"))


def test_a_broken_store_stops_before_anything_is_written(tmp_path: Path) -> None:
    """New secrets never replace those of existing data."""
    (tmp_path / files.STORE).write_text('{"redis": ')

    with pytest.raises(DeployError, match="is not valid JSON"):
        files.write(tmp_path)

    assert (tmp_path / files.STORE).read_text() == '{"redis": '
    assert not list(tmp_path.glob("secrets/*"))


def test_files_that_no_container_uses_are_removed(tmp_path: Path) -> None:
    """A secret that is not used any more does not stay on the disk."""
    (tmp_path / "secrets/wallet").mkdir(parents=True)
    (tmp_path / "secrets/wallet/payflow_old_key").write_text("old")

    files.write(tmp_path)

    assert not (tmp_path / "secrets/wallet/payflow_old_key").exists()


def test_provisioning_reads_exactly_its_files(folder: Path) -> None:
    """provision.sql reads a password for each role from a file of that name."""
    script = (ROOT / "deploy/postgres/provision.sql").read_text()
    read = set(re.findall(r'`cat "\$PAYFLOW_SECRETS_DIR/(\w+)"`', script))

    assert read == {f"{role}_password" for role in postgres.ROLES}
    assert read | {"pg_service.conf"} == {path.name for path in (folder / "secrets/provision").iterdir()}
    assert "getenv" not in script


def test_kubernetes_gets_a_secret_per_container(tmp_path: Path) -> None:
    """The real kustomize builds them: named after the container and its content, in the given namespace."""
    written = files.write(tmp_path)
    files.write_kustomization(tmp_path, written, namespace="payflow")

    kubectl = Path(sys.executable).with_name("kubectl")
    built = subprocess.run(
        [kubectl, "kustomize", tmp_path / "secrets"], check=True, capture_output=True, text=True
    ).stdout
    secrets = list(yaml.safe_load_all(built))
    names = {
        re.sub(r"-secrets-[a-z0-9]{10}$", "", secret["metadata"]["name"]): set(secret["data"]) for secret in secrets
    }
    assert names == {consumer: set(texts) for consumer, texts in written.items()}
    assert {secret["metadata"]["namespace"] for secret in secrets} == {"payflow"}
    assert Secrets(tmp_path / files.STORE).find("redis")
