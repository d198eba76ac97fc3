"""The environment of a clone that was moved or copied is adapted to its new folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local import bootstrap
from deploy.local.home import REPOSITORY


def make_environment(folder: Path, *, stamp: str | None, script: Path | None) -> Path:
    environment = folder / ".venv"
    (environment / "bin").mkdir(parents=True)
    if stamp is not None:
        (environment / ".installed").write_text(stamp)
    if script is not None:
        (environment / "bin" / "payflow").write_text(f"#!{script}/.venv/bin/python\n")
    return environment


def test_an_environment_is_moved_when_its_stamp_names_another_folder(tmp_path: Path) -> None:
    """The stamp decides, not the scripts: an earlier attempt may have been interrupted."""
    here, there = tmp_path / "here", tmp_path / "there"

    assert not bootstrap.is_moved(make_environment(here, stamp=f"{here}\n", script=there))
    assert bootstrap.is_moved(make_environment(there, stamp=f"{here}\n", script=there))


@pytest.mark.parametrize("stamp", ["", None], ids=["of an earlier version", "not finished"])
def test_without_a_named_folder_the_scripts_decide(tmp_path: Path, stamp: str | None) -> None:
    """A reinstallation takes minutes, so it happens only if a script names another folder."""
    here, there, new = tmp_path / "here", tmp_path / "there", tmp_path / "new"

    assert not bootstrap.is_moved(make_environment(here, stamp=stamp, script=here))
    assert bootstrap.is_moved(make_environment(there, stamp=stamp, script=here))
    assert not bootstrap.is_moved(make_environment(new, stamp=stamp, script=None))


@pytest.mark.parametrize(
    ("stamp", "called"), [("{here}\n", False), ("", True), ("/somewhere/else\n", True)], ids=["here", "old", "moved"]
)
def test_make_detects_a_moved_clone(tmp_path: Path, stamp: str, called: bool) -> None:
    """The stamp is newer than the lock file, as after `mv`; only the folder that it names decides."""
    clone = tmp_path / "my clone"
    make_environment(clone, stamp=None, script=None)
    for name in ("Makefile", "uv.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, clone)
    (clone / ".venv" / ".installed").write_text(stamp.format(here=clone.resolve()))
    python = clone / "python"
    python.write_text(f'#!/bin/sh\necho "$@" > "{clone}/called"\n')
    python.chmod(0o755)

    subprocess.run(["make", "PYTHON=./python", ".venv/.installed"], cwd=clone, check=True, capture_output=True)

    assert (clone / "called").exists() == called


def test_the_scripts_of_a_moved_environment_name_its_new_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment's own scripts are rewritten without a download; its packages stay."""
    before, after = tmp_path / "before", tmp_path / "after"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(before / ".venv")], check=True)
    package = before / ".venv" / "package"
    package.touch()
    (before / ".venv" / "bin" / "pip").write_text(f"#!{before}/.venv/bin/python\n")
    before.rename(after)
    monkeypatch.setattr(bootstrap, "ENVIRONMENT", after / ".venv")

    bootstrap.rewrite_scripts()

    assert (after / ".venv" / "package").exists()
    stale = [path for path in (after / ".venv" / "bin").iterdir() if str(before).encode() in path.read_bytes()]
    assert stale == []
