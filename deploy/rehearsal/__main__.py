"""`make deploy-rehearsal`: build the image, start the Compose file on podman, pay, kill, pay again, take everything down.

Nothing stays but the cache in `.deploy/rehearsal/cache`, which the next run uses.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from deploy import programs
from deploy.local import install
from deploy.local.errors import LocalError
from deploy.local.progress import report
from deploy.programs import DeployError
from deploy.rehearsal import images, leftovers, namespaces, packages, scenario
from deploy.rehearsal.workspace import Workspace

IMAGES_SECONDS_MAX = 1800.0
"""The first time: a Debian, four stand-ins and the image, over a slow network."""
RUN_SECONDS_MAX = 1500.0

USAGE = "usage: python -m deploy.rehearsal"


def main() -> int:
    """Run one part inside of its namespaces, or without an argument the whole rehearsal; returns the exit code.

    Raises:
        DeployError: it failed.
    """
    workspace = Workspace()
    if sys.argv[1:] == ["images"]:
        namespaces.enter()
        images.prepare(workspace, report)
    elif sys.argv[1:] == ["scenario"]:
        scenario.run(workspace)
    elif sys.argv[1:]:
        raise DeployError(USAGE)
    else:
        return _run_all(workspace)
    return 0


def _run_all(workspace: Workspace) -> int:
    if os.geteuid() != 0:
        raise DeployError("the rehearsal makes namespaces and mounts: run it as root")
    try:
        asyncio.run(install.ensure(report, also=tuple(packages.FINDERS)))
    except LocalError as error:
        raise DeployError(str(error)) from None
    workspace.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _only_one(workspace):
        started = time.monotonic()
        before = leftovers.snapshot(workspace.folder)
        try:
            with namespaces.hideable_folders():
                passed = _run_parts(workspace)
        finally:
            workspace.remove()
            leftovers.remove_cgroups(before)
        left = sorted(leftovers.snapshot(workspace.folder) - before)
    if left:
        raise DeployError(f"the rehearsal left {'; '.join(left)}")
    outcome = "passed" if passed else f"failed, see {workspace.log}"
    print(f"rehearsal {outcome}; {time.monotonic() - started:.0f} s, nothing left but {workspace.cache} and its log")
    return 0 if passed else 1


def _run_parts(workspace: Workspace) -> bool:
    workspace.create()
    environment = workspace.environment()
    return namespaces.run(
        ["images"], network=True, environment=environment, seconds_max=IMAGES_SECONDS_MAX
    ) and namespaces.run(["scenario"], network=False, environment=environment, seconds_max=RUN_SECONDS_MAX)


@contextmanager
def _only_one(workspace: Workspace) -> Iterator[None]:
    """Hold a lock, so that two rehearsals never share a folder."""
    with (workspace.folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DeployError("another rehearsal is running") from None
        workspace.log.unlink(missing_ok=True)
        yield


if __name__ == "__main__":
    sys.exit(programs.exit_code(main))
