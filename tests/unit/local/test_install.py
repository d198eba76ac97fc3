from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from deploy.local import install
from deploy.local.errors import LocalError


@pytest.fixture
def without_rabbitmq(monkeypatch: pytest.MonkeyPatch) -> None:
    finders = {"postgresql": lambda: "found", "rabbitmq-server": lambda: None, "redis-server": lambda: "found"}
    monkeypatch.setattr(install, "FINDERS", finders)


@pytest.mark.usefixtures("without_rabbitmq")
async def test_without_root_one_line_names_the_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the rights to install, the error names the missing packages only."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(LocalError, match="apt-get install rabbitmq-server\\)") as error:
        await install.ensure(print)

    assert "\n" not in str(error.value)
    assert "redis" not in str(error.value)


@pytest.mark.usefixtures("without_rabbitmq")
async def test_without_apt_one_line_names_the_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system without apt the error is the same for root."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda _program: None)

    with pytest.raises(LocalError, match="install the packages rabbitmq-server"):
        await install.ensure(print)


async def test_an_extra_package_is_installed_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that only drills need is checked only if it is named."""
    monkeypatch.setattr(install, "FINDERS", {"redis-server": lambda: "found"})
    monkeypatch.setattr(install, "EXTRA_FINDERS", {"faketime": lambda: None})
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    await install.ensure(print)
    with pytest.raises(LocalError, match="apt-get install faketime\\)"):
        await install.ensure(print, also=["faketime"])


def test_faketime_is_found_below_the_folder_of_the_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian has the library below a folder named after the architecture, other systems do not."""
    monkeypatch.setattr(install, "LIBRARY_FOLDERS", (str(tmp_path / "none"), str(tmp_path)))
    assert install.find_faketime() is None
    for below in ("faketime", "x86_64-linux-gnu/faketime"):
        library = tmp_path / below / "libfaketime.so.1"
        library.parent.mkdir(parents=True)
        library.touch()
        assert library == install.find_faketime()


async def test_without_missing_packages_nothing_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """If all programs are installed, the check is silent and fast."""
    monkeypatch.setattr(install, "FINDERS", {"redis-server": lambda: "found"})
    said: list[str] = []

    await install.ensure(said.append)

    assert said == []


def test_the_file_that_keeps_services_down_is_temporary(tmp_path: Path) -> None:
    """It is executable while it is needed; afterwards it and its folders are removed."""
    path = tmp_path / "sbin" / "policy-rc.d"

    with install._file(path, "exit 101\n", mode=0o755):
        assert path.read_text() == "exit 101\n"
        assert path.stat().st_mode & 0o777 == 0o755

    assert not (tmp_path / "sbin").exists()


def test_an_existing_policy_file_is_left_alone(tmp_path: Path) -> None:
    """A policy that the machine's owner wrote keeps its text."""
    path = tmp_path / "policy-rc.d"
    path.write_text("exit 0\n")

    with install._file(path, "exit 101\n"):
        assert path.read_text() == "exit 0\n"

    assert path.read_text() == "exit 0\n"
