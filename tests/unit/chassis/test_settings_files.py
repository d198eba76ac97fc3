"""Settings from the files of a folder."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from services.chassis import settings
from services.chassis.settings import BadConfiguration, RoleSettings, load
from services.wallet.settings import MigrateSettings

SEED = base64.b64encode(bytes(range(32))).decode()
PUBLIC_KEYS = json.dumps({"gateway": SEED})
URL = "postgresql://someone:kW3vQ9sZ1xT7pL5m@127.0.0.1/wallet"
KEYS = {"payflow_service_key": SEED, "payflow_service_public_keys": PUBLIC_KEYS}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty folder that the settings name."""
    monkeypatch.setenv("PAYFLOW_SECRETS_DIR", str(tmp_path))
    return tmp_path


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)


def fault(kind: type[settings.ProcessSettings] = RoleSettings) -> str:
    """The line with which the start stops."""
    with pytest.raises(BadConfiguration) as raised:
        load(kind)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_every_setting_may_be_a_file(folder: Path) -> None:
    """Guarantee 56: secrets, JSON and plain settings are read from files; the last line may end with a newline."""
    write(folder, {name: f"{text}\n" for name, text in KEYS.items()} | {"PAYFLOW_METRICS_PORT": "9200\n"})

    read = load(RoleSettings)

    assert SEED == read.service_key.get_secret_value()
    assert {"gateway": SEED} == read.service_public_keys
    assert 9200 == read.metrics_port


def test_jobs_read_files_too(folder: Path) -> None:
    """Guarantee 56: the owner's URL of a migration is read from its file."""
    write(folder, {"payflow_wallet_owner_database_url": f"{URL}\n"})

    assert URL == load(MigrateSettings).wallet_owner_database_url.get_secret_value()


@pytest.mark.parametrize("value", ["", None])
def test_without_a_folder_only_the_environment_is_read(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    """An empty `PAYFLOW_SECRETS_DIR` is none."""
    monkeypatch.delenv("PAYFLOW_SECRETS_DIR", raising=False)
    for name, text in {"PAYFLOW_SECRETS_DIR": value, **KEYS}.items():
        if text is not None:
            monkeypatch.setenv(name.upper(), text)

    assert SEED == load(RoleSettings).service_key.get_secret_value()


def test_a_missing_folder_stops_the_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line names the folder."""
    missing = folder / "missing"
    monkeypatch.setenv("PAYFLOW_SECRETS_DIR", str(missing))

    assert fault() == f"PAYFLOW_SECRETS_DIR: {missing} cannot be read (No such file or directory)"


def test_a_setting_given_twice_stops_the_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the variable nor the file wins: one line names both, and neither value."""
    write(folder, KEYS)
    monkeypatch.setenv("PAYFLOW_SERVICE_KEY", "other")

    assert (
        fault() == f"PAYFLOW_SERVICE_KEY: given more than once, by {folder}/payflow_service_key and by the environment"
    )


def test_two_files_of_one_setting_stop_the_start(folder: Path) -> None:
    """The same name in both cases is given twice."""
    write(folder, KEYS | {"PAYFLOW_SERVICE_KEY": SEED})

    assert fault().startswith("PAYFLOW_SERVICE_KEY: given more than once")


def test_a_file_that_cannot_be_read_stops_the_start(folder: Path) -> None:
    """A folder in its place, bytes that are no text: one line names each setting."""
    write(folder, {"payflow_service_public_keys": PUBLIC_KEYS})
    (folder / "payflow_service_key").mkdir()
    (folder / "payflow_metrics_port").write_bytes(b"\xff")

    line = fault()

    assert f"PAYFLOW_SERVICE_KEY: {folder}/payflow_service_key cannot be read (Is a directory)" in line
    assert f"PAYFLOW_METRICS_PORT: {folder}/payflow_metrics_port cannot be read (not UTF-8)" in line
    assert "missing" not in line


@pytest.mark.parametrize(
    ("name", "text"), [("payflow_service_key", "short-but-private"), ("payflow_service_public_keys", "{private")]
)
def test_a_malformed_file_is_named_without_its_value(folder: Path, name: str, text: str) -> None:
    """Guarantee 55: a malformed value in a file stops the start with one line without the value."""
    write(folder, KEYS | {name: text})

    line = fault()

    assert name.removeprefix("payflow_") in line.lower()
    assert "private" not in line


def test_files_are_read_as_kubernetes_mounts_them(folder: Path) -> None:
    """A volume of a Secret: links to a hidden folder that is replaced as a whole. Its other entries are no settings."""
    content = folder / "..2026_12_01"
    content.mkdir()
    write(content, KEYS)
    (folder / "..data").symlink_to(content.name)
    for name in KEYS:
        (folder / name).symlink_to(f"..data/{name}")

    read = load(RoleSettings)

    assert SEED == read.service_key.get_secret_value()
    assert [] == settings.list_unread_files(read)


def test_files_of_a_later_release_are_ignored(folder: Path) -> None:
    """A file that this release does not read is no fault, so that secrets can be added before an upgrade; it is listed."""
    write(folder, KEYS | {"payflow_frobnicator_key": "x", "redis.conf": "x"})

    assert ["payflow_frobnicator_key"] == settings.list_unread_files(load(RoleSettings))
