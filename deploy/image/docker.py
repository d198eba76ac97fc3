"""The Docker command, or one line that says what is missing."""

from __future__ import annotations

from deploy import programs

HINT = "install Docker Engine with its buildx and compose plugins (https://docs.docker.com/engine/install)"


def find() -> str:
    """The path of `docker`.

    Raises:
        DeployError: it is not installed.
    """
    return programs.find("docker", hint=HINT)


def require_buildx() -> str:
    """The path of `docker` with its plugin buildx, which can query registries.

    Raises:
        DeployError: one of the two is not installed.
    """
    command = find()
    try:
        programs.output([command, "buildx", "version"], what="docker buildx", seconds_max=20.0)
    except programs.DeployError:
        raise programs.DeployError(f"docker has no buildx: {HINT}") from None
    return command


def require_engine() -> str:
    """The path of `docker`, whose engine responds.

    Raises:
        DeployError: Docker is not installed, or its engine does not run.
    """
    command = find()
    programs.output([command, "version", "--format", "{{.Server.Version}}"], what="docker version", seconds_max=20.0)
    return command
