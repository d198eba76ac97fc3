"""The stand-ins accept what the official images accept, and nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deploy.image import lock
from deploy.rehearsal import images

ENTRYPOINT = "docker-entrypoint.sh"


def test_every_stand_in_is_for_a_locked_image() -> None:
    """Python and the engines have one; what is built on it is checked with the others."""
    assert images.names() == ["postgres", "python", "rabbitmq", "redis"]
    assert [] == [name for name in images.names() if name not in lock.read()]


@pytest.mark.parametrize(
    ("name", "command", "variable"),
    [
        ("postgres", "postgres", "POSTGRES_APP_PASSWORD"),
        ("postgres", "postgres", "PGPASSWORD"),
        ("rabbitmq", "rabbitmq-server", "RABBITMQ_DEFAULT_PASS_FILE"),
    ],
)
def test_unknown_variables_end_the_start(name: str, command: str, variable: str) -> None:
    """A Compose file must not rely on a variable that the official image ignores or refuses."""
    result = _run(name, [command], {variable: "any"})

    assert result.returncode == 64
    assert f"the official image has no {variable}" in result.stderr


@pytest.mark.parametrize(
    ("name", "variable"), [("postgres", "PGSERVICE"), ("rabbitmq", "RABBITMQ_DEFAULT_PASS_FILE"), ("redis", "ANY")]
)
def test_other_commands_run_as_they_are(name: str, variable: str) -> None:
    """A job in the image of an engine, such as psql, gets its own variables."""
    result = _run(name, ["sh", "-c", f"echo ${variable}"], {variable: "value"})

    assert (result.returncode, result.stdout) == (0, "value\n")


def test_a_password_has_one_source() -> None:
    """Both the variable and the file are refused, as in the official image."""
    function = _entrypoint("postgres").read_text().split("initialise()")[0]
    script = f'{function}\nsetting POSTGRES_PASSWORD ""'
    both = {"POSTGRES_PASSWORD": "one", "POSTGRES_PASSWORD_FILE": "/dev/null"}
    result = subprocess.run(["bash", "-c", script], env=both, capture_output=True, text=True, check=False)

    assert result.returncode == 64
    assert "both POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE are set" in result.stderr


def test_a_changed_stand_in_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe of the cache covers every file of the stand-ins and the names of the images."""
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "Dockerfile").write_text("FROM debian\n")
    monkeypatch.setattr(images, "STANDINS", tmp_path)
    before = images.recipe()
    (tmp_path / "redis" / "Dockerfile").write_text("FROM debian\nRUN true\n")

    assert images.recipe() != before


def _run(name: str, command: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", **variables}
    return subprocess.run(
        ["bash", str(_entrypoint(name)), *command], env=environment, capture_output=True, text=True, check=False
    )


def _entrypoint(name: str) -> Path:
    return images.STANDINS / name / ENTRYPOINT
