"""The images of a rehearsal: stand-ins for what cannot be pulled, and the image of this repository from its own Dockerfile."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy import programs
from deploy.image import build, lock
from deploy.local.progress import Report
from deploy.programs import DeployError
from deploy.rehearsal.workspace import Workspace

STANDINS = Path(__file__).with_name("standins")
DEBIAN = "debian"
SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
PREFIX = "localhost/payflow-rehearsal/"
PAYFLOW = "localhost/payflow:rehearsal"

BUILDAH = ["buildah", "bud", "--pull-never", "--isolation=chroot", "--network=host", "--format=docker"]
"""In a chroot and in the network of this machine: a build needs no other isolation here. The OCI format has no health checks."""
BUILD_SECONDS_MAX = 900.0


def names() -> list[str]:
    """The stand-ins, by their names in images.lock."""
    return sorted(path.name for path in STANDINS.iterdir() if path.name != DEBIAN)


def recipe() -> str:
    """The hash of everything that the stand-ins are made from."""
    digest = hashlib.sha256(f"{SUITE} {MIRROR} {[lock.read()[name].tagged for name in names()]}".encode())
    for path in sorted(STANDINS.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(STANDINS).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def prepare(workspace: Workspace, report: Report) -> None:
    """Build the stand-ins unless the cache has them, then the image of this repository.

    Raises:
        DeployError: a build failed; its output is in the log.
    """
    stamp = workspace.cache / "recipe"
    if not stamp.exists() or stamp.read_text() != recipe():
        stamp.unlink(missing_ok=True)
        shutil.rmtree(workspace.images)
        workspace.images.mkdir(mode=0o700)
        _build_standins(workspace, report)
        stamp.write_text(recipe())
    report("building the image from deploy/image/Dockerfile")
    _build_payflow(workspace)


def _build_standins(workspace: Workspace, report: Report) -> None:
    archive = workspace.cache / "debian.tar"
    if not archive.exists():
        report(f"making a Debian {SUITE} with debootstrap (once)")
        _bootstrap(workspace, archive)
    environment = workspace.environment(for_cache=True)
    for name in (DEBIAN, *names()):
        report(f"building the stand-in {name} (once)")
        context = workspace.run / "context"
        shutil.copytree(STANDINS / name, context)
        if name == DEBIAN:
            archive.rename(context / archive.name)
        try:
            _log([*BUILDAH, f"--tag={PREFIX}{name}", str(context)], workspace, environment, what=f"building {name}")
            if name != DEBIAN:
                # The name of the image that it stands in for.
                command = ["buildah", "tag", f"{PREFIX}{name}", lock.read()[name].tagged]
                programs.output(command, what="buildah tag", environment=environment)
        finally:
            if name == DEBIAN:
                (context / archive.name).rename(archive)
            shutil.rmtree(context)


def _bootstrap(workspace: Workspace, archive: Path) -> None:
    root = workspace.run / DEBIAN
    command = ["debootstrap", "--variant=minbase", SUITE, str(root), MIRROR]
    _log(command, workspace, workspace.environment(), what="debootstrap")
    draft = archive.with_suffix(".draft")
    programs.output(["tar", "-C", str(root), "-cf", str(draft), "."], what="tar", seconds_max=BUILD_SECONDS_MAX)
    draft.rename(archive)
    shutil.rmtree(root)


def _build_payflow(workspace: Workspace) -> None:
    base = lock.Image("python", f"{PREFIX}python", None)
    command = [*BUILDAH, f"--tag={PAYFLOW}", f"--file={build.DOCKERFILE}", *workspace.trust()]
    command += [f"--build-arg={name}={value}" for name, value in build.arguments(base).items()]
    _log([*command, str(lock.REPOSITORY)], workspace, workspace.environment(), what="building the image")


def _log(command: Sequence[str], workspace: Workspace, environment: Mapping[str, str], *, what: str) -> None:
    """Run a long command; its output goes to the log, and its last line into the error."""
    with workspace.log.open("ab") as log:
        start = log.tell()
        log.write(f"$ {' '.join(command)}\n".encode())
        log.flush()
        try:
            done = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=BUILD_SECONDS_MAX,
            )
        except subprocess.TimeoutExpired:
            raise DeployError(f"{what} did not finish within {BUILD_SECONDS_MAX:g} s") from None
    if done.returncode != 0:
        text = workspace.log.read_bytes()[start:].decode(errors="replace")
        raise DeployError(f"{what} failed: {programs.last_line(text)}; see {workspace.log}")
