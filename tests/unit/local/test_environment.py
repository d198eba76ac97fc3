"""The variables of the user's shell that reach the processes of the stack."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local import environment
from deploy.local.home import REPOSITORY
from tests.harness.environments import HOSTILE

FOREIGN = sorted(name for name in HOSTILE if not name.startswith("PAYFLOW_"))


@pytest.mark.parametrize("name", [*FOREIGN, "LD_PRELOAD", "MALLOC_CONF", "UNKNOWN"])
def test_a_foreign_variable_is_not_passed_on(name: str) -> None:
    """Processes get only the listed variables; locale and time zone are always the same."""
    assert environment.passed_on({name: "foreign"}) == {"LC_ALL": "C.UTF-8", "TZ": "UTC"}


@pytest.mark.parametrize(
    "name", ["PATH", "HOME", "TMPDIR", "CI", "SSL_CERT_FILE", "PAYFLOW_LOG_LEVEL", "COVERAGE_FILE"]
)
def test_needed_variables_are_passed_on(name: str) -> None:
    """Programs are found, coverage is measured, and the settings of PayFlow arrive."""
    assert environment.passed_on({name: "value"})[name] == "value"


def test_driver_variables_are_removed() -> None:
    """Variables of PostgreSQL are removed from this process; all others stay."""
    variables = {"PGSSLMODE": "require", "PGHOST": "elsewhere", "PATH": "/bin", "https_proxy": "http://proxy"}

    environment.forget_driver_variables(variables)

    assert variables == {"PATH": "/bin", "https_proxy": "http://proxy"}


def test_make_passes_on_neither_python_variables_nor_locale(tmp_path: Path) -> None:
    """PYTHONHOME would prevent the start of an interpreter; PYTHON=... still selects one."""
    for name in ("Makefile", "uv.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / "deploy").symlink_to(REPOSITORY / "deploy")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nenv > "{tmp_path}/seen"\n')
    python.chmod(0o755)
    (tmp_path / ".venv" / ".installed").write_text(f"{tmp_path.resolve()}\n")
    foreign = {"PYTHONHOME": "/nonexistent", "PYTHONPATH": "/nonexistent", "PYTHONOPTIMIZE": "2", "LC_ALL": "xx_XX"}
    variables = os.environ | foreign | {"LANG": "xx_XX", "https_proxy": "http://192.0.2.1:1", "PYTHON": "./nothing"}

    subprocess.run(["make", "stop"], cwd=tmp_path, env=variables, check=True, capture_output=True)

    seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines() if "=" in line)
    assert not [name for name in seen if name.startswith(("PYTHON", "LC_", "LANG"))]
    assert seen["https_proxy"] == "http://192.0.2.1:1"


def test_the_command_line_works_in_a_foreign_environment(tmp_path: Path) -> None:
    """Its help is complete, and a gateway on this machine is not reached through a proxy."""
    command = [str(Path(sys.executable).with_name("payflow"))]
    variables = os.environ | HOSTILE | {"XDG_CONFIG_HOME": str(tmp_path), "PAYFLOW_GATEWAY": "http://127.0.0.1:9"}

    shown = subprocess.run([*command, "--help"], env=variables, capture_output=True, text=True, check=False)
    refused = subprocess.run(
        [*command, "login", "alice@example.com"],
        env=variables | {"PAYFLOW_PASSWORD": "not-needed-here"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (shown.returncode, shown.stderr) == (0, "")
    assert refused.stderr.count("\n") == 1
    assert "127.0.0.1:9" in refused.stderr
