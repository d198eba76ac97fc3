"""Namespaces of a rehearsal: its processes, mounts and networks end with it, however it ends.

The child is process 1 of its own process namespace, so the kernel kills everything that was started in it. podman's locks,
sockets and caches outside of its store are hidden behind empty folders that only the child sees.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy import programs
from deploy.programs import DeployError

HIDDEN = (Path("/run"), Path("/dev/shm"), Path("/var/lib/containers"), Path("/var/lib/cni"), Path("/etc/cni"))  # noqa: S108
HYBRID = Path("/sys/fs/cgroup/unified")
"""crun refuses the hybrid hierarchy of cgroups; without this half it sees version 1 alone."""
RESOLVER = Path("/etc/resolv.conf")


def command(arguments: Sequence[str], *, network: bool) -> list[str]:
    """The command that runs `python -m deploy.rehearsal ARGUMENTS` in new namespaces; `network`: in this machine's network."""
    flags = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *([] if network else ["--net"])]
    # catatonit is process 1: it passes signals on and collects the processes that podman leaves to it.
    first = programs.find("catatonit", hint="install the package catatonit")
    return ["unshare", *flags, first, "--", sys.executable, "-m", "deploy.rehearsal", *arguments]


def run(arguments: Sequence[str], *, network: bool, environment: Mapping[str, str], seconds_max: float) -> bool:
    """Run a part of the rehearsal in new namespaces, in the foreground; whether it succeeded. It has printed why if not.

    Raises:
        DeployError: it took too long.
    """
    child = subprocess.Popen(command(arguments, network=network), env=dict(environment))
    try:
        return child.wait(timeout=seconds_max) == 0
    except subprocess.TimeoutExpired:
        raise DeployError(f"the rehearsal was not done after {seconds_max:g} s and was ended") from None
    finally:
        # `unshare --kill-child` ends with all that runs in the namespaces.
        child.kill()
        child.wait()


@contextmanager
def hideable_folders() -> Iterator[None]:
    """Make the folders of `HIDDEN` that are missing, as only an existing folder can be hidden, and remove them at the end."""
    missing = [folder for folder in HIDDEN if not folder.exists()]
    for folder in missing:
        folder.mkdir(mode=0o700)
    try:
        yield
    finally:
        for folder in missing:
            with suppress(OSError):  # not empty: the check for what is left names it
                folder.rmdir()


def enter() -> None:
    """In the child: hide the folders that podman shares with the machine, and start the loopback interface."""
    resolver = RESOLVER.read_text() if RESOLVER.exists() else ""
    if os.path.ismount(HYBRID):
        programs.output(["umount", str(HYBRID)], what="umount")
    for folder in HIDDEN:
        programs.output(["mount", "-t", "tmpfs", "tmpfs", str(folder)], what=f"hiding {folder}")
    # systemd-resolved keeps the file below /run.
    target = RESOLVER.resolve()
    if not target.exists():
        target.parent.mkdir(parents=True)
        target.write_text(resolver)
    programs.output(["ip", "link", "set", "lo", "up"], what="ip")
