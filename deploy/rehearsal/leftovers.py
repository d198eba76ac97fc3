"""What a rehearsal could leave on the machine, before and after it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

FOLDERS = ("/run", "/run/netns", "/var/lib", "/var/lib/containers", "/var/lib/cni", "/var/tmp", "/etc/cni", "/dev/shm")  # noqa: S108
TRACES = re.compile(r"podman|buildah|containers|libpod|netavark|aardvark|netns|cni|crun|payflow-rehearsal")
INTERFACES = Path("/sys/class/net")
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


CGROUPS = ("/sys/fs/cgroup/libpod_parent", "/sys/fs/cgroup/*/libpod_parent")


def remove_cgroups(before: set[str]) -> None:
    """Remove the cgroups of podman that are not in `before`: the one thing that ends with no namespace."""
    for parent in _cgroups():
        if f"cgroup {parent}" not in before:
            folders = sorted((path for path in parent.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts))
            for path in (*folders, parent):
                with suppress(OSError):
                    path.rmdir()


def _cgroups() -> Iterator[Path]:
    for pattern in CGROUPS:
        yield from Path("/").glob(pattern.removeprefix("/"))


def snapshot(folder: Path) -> set[str]:
    """Processes, mounts, interfaces and files that a rehearsal below `folder` could have made."""
    return {*_files(), *_processes(folder), *_mounts(folder), *_network(), *(f"cgroup {path}" for path in _cgroups())}


def _files() -> Iterator[str]:
    for folder in map(Path, FOLDERS):
        with suppress(OSError):
            yield from (f"file {path}" for path in folder.iterdir() if TRACES.search(str(path)))


def _processes(folder: Path) -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            environment = (process / "environ").read_bytes()
            if process.name != str(os.getpid()) and os.fsencode(folder / "run") in environment:
                yield f"process {process.name} ({command[:80]})"


def _mounts(folder: Path) -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4]
        if point.startswith(str(folder)):
            yield f"mount {point}"


def _network() -> Iterator[str]:
    if INTERFACES.exists():
        yield from (f"network interface {path.name}" for path in INTERFACES.iterdir())
    if FORWARDING.exists():
        yield f"ip_forward = {FORWARDING.read_text().strip()}"
