"""The hooks of `.pre-commit-config.yaml`, run for real on a copy of the tree."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mutation import tree

ROOT = tree.ROOT
FAULTS = {
    "ruff-format": ("payflow/fault.py", '"""A module."""\nNUMBER=1\n'),
    "ruff-check": ("payflow/fault.py", '"""A module."""\n\nimport os\n'),
    "end-of-file": ("docs/fault.md", "No end of line"),
    "trailing-whitespace": ("docs/fault.md", "Two spaces  \n"),
    "codespell": ("docs/fault.md", "It occu" + "red once.\n"),
    "lock": ("pyproject.toml", '[project]\nname = "payflow"\nversion = "0"\nrequires-python = ">=3.11"\n'),
    "workflows": (".github/workflows/fault.yml", "on: push\njobs: {check: {runs-on: 1}}\n"),
}
"""Each hook that runs before a commit, and a file that it must refuse."""


def git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)


def pre_commit(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [".venv/bin/pre-commit", *arguments],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A repository with all sources of this one; hooks may change its files."""
    folder = tmp_path_factory.mktemp("hooks") / "copy"
    tree.copy(ROOT, folder)
    tree.link_environment(folder)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("GIT_", "PRE_COMMIT_"))]:
            patch.delenv(name)
        patch.setenv("PRE_COMMIT_HOME", str(folder.parent / "cache"))
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        git(folder, "init", "--initial-branch=main")
        git(folder, "config", "user.name", "Test")
        git(folder, "config", "user.email", "test@example.com")
        git(folder, "add", "--all")
        git(folder, "commit", "--message", "Add everything")
        yield folder


@pytest.fixture
def clean(copy: Path) -> Iterator[Path]:
    """The copy, restored afterwards."""
    yield copy
    git(copy, "reset", "--hard", "HEAD")
    git(copy, "clean", "-d", "--force")


def test_all_hooks_pass_on_the_tree(clean: Path) -> None:
    """`pre-commit run --all-files` is green, without a warning about its configuration, and changes nothing."""
    checked = pre_commit(clean, "validate-config")
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")

    ran = pre_commit(clean, "run", "--all-files")

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "[WARNING]" not in ran.stderr
    assert git(clean, "status", "--porcelain").stdout == ""


@pytest.mark.parametrize("hook", FAULTS)
def test_each_hook_refuses_its_fault(clean: Path, hook: str) -> None:
    """A hook that accepts everything would pass on the tree as well."""
    path, text = FAULTS[hook]
    (clean / path).write_text(text)
    git(clean, "add", "--all")

    assert pre_commit(clean, "run", hook).returncode == 1


def test_installed_hooks_check_a_commit(clean: Path) -> None:
    """`pre-commit install` sets up both kinds: a bad subject stops the commit, a good one does not."""
    assert pre_commit(clean, "install").returncode == 0
    (clean / "docs" / "new.md").write_text("A new page.\n")
    git(clean, "add", "--all")

    with pytest.raises(subprocess.CalledProcessError) as refused:
        git(clean, "commit", "--message", "docs: a new page")
    git(clean, "commit", "--message", "Add a page")

    assert "no verb" in refused.value.stdout + refused.value.stderr
    assert pre_commit(clean, "uninstall").returncode == 0
    git(clean, "reset", "--hard", "HEAD~1")
