from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from deploy.local.home import REPOSITORY


def test_make_alone_prints_the_commands() -> None:
    """Each command has a line with its purpose, and nothing is run."""
    shown = subprocess.run(["make"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout

    for command in ("run", "demo", "chaos", "bench", "stop", "clean", "test", "drills", "mutants", "lint"):
        assert f"  make {command} " in shown


@pytest.mark.parametrize(
    ("failing", "code"),
    [("none", 0), ("lint", 1), ("test", 1), ("chaos", 1), ("bench", 1)],
    ids=["all green", "lint fails", "test fails", "chaos fails", "bench fails"],
)
def test_ci_runs_all_and_fails_if_one_does(tmp_path: Path, failing: str, code: int) -> None:
    """A failure does not hide another one."""
    make = tmp_path / "make"
    make.write_text(f'#!/bin/sh\necho "$1" >> "{tmp_path}/called"\ntest "$1" != {failing}\n')
    make.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    ci = subprocess.run([str(REPOSITORY / ".ci" / "run")], env=environment, capture_output=True, text=True, check=False)

    assert ci.returncode == code
    assert (tmp_path / "called").read_text().split() == ["lint", "test", "chaos", "bench"]
