"""`make image`: build the image with Docker; what is built into it does not depend on the builder."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

from deploy.image import docker, lock
from deploy.programs import DeployError

REPOSITORY = lock.REPOSITORY
DOCKERFILE = Path(__file__).with_name("Dockerfile")
TAG = "payflow:dev"
"""What the Compose file uses unless PAYFLOW_IMAGE names another one."""


def tag() -> str:
    """The name of the image to build."""
    return os.environ.get("PAYFLOW_IMAGE") or TAG


def extra() -> str:
    """The optional extra to install, from EXTRA; empty for none.

    Raises:
        DeployError: services/pyproject.toml has no such extra.
    """
    name = os.environ.get("EXTRA", "")
    known = tomllib.loads((REPOSITORY / "services/pyproject.toml").read_text())["project"]["optional-dependencies"]
    if name and name not in known:
        raise DeployError(f"EXTRA={name} is unknown; there is: {', '.join(sorted(known))}")
    return name


def version() -> str:
    """The version of the distribution."""
    return str(tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"])


def revision() -> str:
    """The commit, with `-dirty` if files differ from it; `unknown` outside of a repository."""
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") or "unknown"


def arguments(base: lock.Image | None = None) -> dict[str, str]:
    """The arguments of the Dockerfile; the base is that of images.lock unless another is given."""
    base = base or lock.read()["python"]
    return {
        "BASE": base.reference,
        "BASE_DIGEST": base.digest or "",
        "EXTRA": extra(),
        "REVISION": revision(),
        "SOURCE": _source(),
        "VERSION": version(),
    }


def build() -> None:
    """Build the image with Docker and show its progress.

    Raises:
        DeployError: Docker is missing, or the build failed.
    """
    command = [docker.require_engine(), "build", "--file", str(DOCKERFILE), "--tag", tag()]
    for name, value in arguments().items():
        command += ["--build-arg", f"{name}={value}"]
    if subprocess.run([*command, str(REPOSITORY)], check=False).returncode != 0:
        raise DeployError(f"docker could not build {tag()}: see above")


def _source() -> str:
    """The address of the repository, without credentials; empty if there is none."""
    url = _git("remote", "get-url", "origin")
    return url if url.startswith("https://") and "@" not in url else ""


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(REPOSITORY), *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout.strip() if done.returncode == 0 else ""
