"""What goes into the image, and the errors of its targets on a machine without Docker."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from deploy.image import build
from deploy.programs import DeployError

ROOT = build.REPOSITORY
DOCKERFILE = build.DOCKERFILE.read_text()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in the wheel of the services, as `uv sync --no-editable` builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [str(ROOT / ".venv" / "bin" / "python"), "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT / "services", check=True, capture_output=True)
    return set(zipfile.ZipFile(next(folder.glob("*.whl"))).namelist())


def test_the_wheel_has_every_file_of_the_services(wheel: set[str]) -> None:
    """Queries, migrations and Alembic's environment are read at run time; the image has no other source of them."""
    tracked = subprocess.run(
        ["git", "ls-files", "services"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()

    assert [] == sorted(set(tracked) - wheel - {"services/pyproject.toml"})


def test_the_image_is_built_from_the_locked_uv() -> None:
    """The uv of the image is the one that wrote uv.lock here, by version and by the hashes of its files."""
    text = (ROOT / "deploy" / "image" / "uv.txt").read_text()
    wanted = re.search(r"^uv==(\S+)", text)

    assert wanted is not None
    assert re.fullmatch(r"uv==[\d.]+( \\\n    --hash=sha256:[0-9a-f]{64})+\n", text)


def test_the_build_reads_only_what_it_copies() -> None:
    """.dockerignore excludes everything but the sources of the Dockerfile's COPY lines: no secret can get into a layer."""
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, flags=re.MULTILINE)
        for source in line.split()[:-1]
    ]

    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"
    assert [] == [
        source
        for source in copied
        if not any(source == name or fnmatch.fnmatch(source, f"{name}/*") for name in allowed)
    ]
    assert [] == [
        name for name in allowed if not any(source == name or source.startswith(f"{name}/") for source in copied)
    ]


def test_the_image_runs_as_a_user_without_rights() -> None:
    """The user is a number, which Kubernetes can check, and the role is chosen by arguments."""
    assert re.findall(r"^(?:USER|ENTRYPOINT) .*$", DOCKERFILE, flags=re.MULTILINE) == [
        "USER 10001:10001",
        'ENTRYPOINT ["python", "-m"]',
    ]


def test_an_extra_is_installed_if_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step of the build that installs packages installs the extra, too; a name that does not exist is refused."""
    monkeypatch.setenv("EXTRA", "otel")
    assert "otel" == build.arguments()["EXTRA"]
    installs = re.findall(r"uv sync --locked .*$", DOCKERFILE, flags=re.MULTILINE)
    assert 2 == len(installs)
    assert all(each.endswith(" ${EXTRA:+--extra ${EXTRA}}") for each in installs)

    monkeypatch.setenv("EXTRA", "tracing")
    with pytest.raises(DeployError, match="EXTRA=tracing is unknown; there is: otel"):
        build.arguments()


@pytest.mark.parametrize("command", ["build", "pin"])
def test_without_docker_there_is_one_line(command: str, tmp_path: Path) -> None:
    """On a machine without Docker the target says what to install, and writes nothing."""
    lock = ROOT / "deploy" / "image" / "images.lock"
    before = lock.read_text()
    result = subprocess.run(
        [sys.executable, "-m", "deploy.image", command],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 1
    assert re.fullmatch(r"payflow: docker is not installed: install Docker Engine .*\n", result.stderr)
    assert lock.read_text() == before
