"""The OS packages of the engines and of drills: installed as root with apt; elsewhere the error names them.

Nothing may start on the default ports: the installation creates no cluster, starts no service, and enables none that was
not there before.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deploy.local.engines import etcd, haproxy, postgres, rabbitmq, redis
from deploy.local.errors import LocalError
from deploy.local.progress import Report
from deploy.monitoring import programs
from deploy.rehearsal import packages

ATTEMPTS_MAX = 2
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# No service starts while PayFlow installs its engines; removed afterwards.\nexit 101\n"
CLUSTERS = Path("/etc/postgresql-common/createcluster.d/payflow.conf")
CLUSTERS_TEXT = (
    "# No cluster on port 5432 while PayFlow installs its engines; removed afterwards.\ncreate_main_cluster = false\n"
)
APT = ["apt-get", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=120", "-qq"]

FINDERS: dict[str, Callable[[], object | None]] = {
    "postgresql": postgres.find_programs,
    "rabbitmq-server": rabbitmq.find_server,
    "redis-server": redis.find_server,
}
"""How to find the programs of a package, by package."""

CLUSTER_FINDERS: dict[str, Callable[[], object | None]] = {
    "etcd-server": etcd.find_server,
    "haproxy": haproxy.find_server,
}
"""The same for packages that only a stack with clusters needs."""

FAKETIME_LIBRARY = "faketime/libfaketime.so.1"
LIBRARY_FOLDERS = ("/usr/lib", "/usr/lib64", "/usr/local/lib")


def find_faketime() -> Path | None:
    """The library that fakes the time of day of a process; None if it is not installed."""
    for folder in map(Path, LIBRARY_FOLDERS):
        # Debian has a folder for each architecture in between, other systems have none.
        for found in (*sorted(folder.glob(f"*/{FAKETIME_LIBRARY}")), folder / FAKETIME_LIBRARY):
            if found.is_file():
                return found
    return None


EXTRA_FINDERS: dict[str, Callable[[], object | None]] = {
    "faketime": find_faketime,
    **CLUSTER_FINDERS,
    **programs.FINDERS,
    **packages.FINDERS,
}
"""The same for packages that only drills, tests, monitoring and rehearsals need."""

SERVICES = FINDERS.keys() | programs.FINDERS.keys() | {"haproxy", "etcd"}
"""The services that the packages install; most have the names of their packages."""


def missing(also: Sequence[str] = ()) -> list[str]:
    """The packages whose programs are missing, of those that are always needed and of those in `also`."""
    finders = FINDERS | {package: EXTRA_FINDERS[package] for package in also}
    return [package for package, find in finders.items() if find() is None]


async def ensure(report: Report, *, also: Sequence[str] = ()) -> None:
    """Install the missing packages; `also` names extra ones.

    Raises:
        LocalError: they cannot be installed; the text names them.
    """
    packages = missing(also)
    if not packages:
        return
    names = " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise LocalError(f"missing programs: install the packages {names} (apt-get install {names})")
    report(f"installing {names} with apt-get")
    with _file(POLICY, POLICY_TEXT, mode=0o755), _file(CLUSTERS, CLUSTERS_TEXT):
        await _install(packages)
    _disable([service for service in SERVICES if any(package.startswith(service) for package in packages)])
    remaining = missing(also)
    if remaining:
        raise LocalError(
            f"apt-get installed no usable {' '.join(remaining)}: PayFlow needs PostgreSQL 15, RabbitMQ 3.10, Redis 7"
        )


async def _install(packages: list[str]) -> None:
    failure = ""
    for _ in range(ATTEMPTS_MAX):
        # A package list that cannot be updated may still be good enough.
        await _apt("update")
        failure = await _apt("install", "-y", "--no-install-recommends", *packages)
        if not failure:
            return
    raise LocalError(f"apt-get could not install {' '.join(packages)}: {failure}")


async def _apt(*arguments: str) -> str:
    """Run apt-get; its last line of output if it failed, else an empty text.

    An interruption waits for it: a half-installed package is worse than a late end.
    """
    child = await asyncio.create_subprocess_exec(
        *APT,
        *arguments,
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    finished = asyncio.ensure_future(child.communicate())
    try:
        output, _ = await asyncio.shield(finished)
    except asyncio.CancelledError:
        await finished
        raise
    lines = output.decode(errors="replace").strip().splitlines()
    return "" if child.returncode == 0 else (lines[-1] if lines else f"exit code {child.returncode}")


@contextlib.contextmanager
def _file(path: Path, text: str, *, mode: int = 0o644) -> Iterator[None]:
    """Create a file and remove it afterwards; an existing file is left alone."""
    if path.exists():
        yield
        return
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _disable(services: list[str]) -> None:
    """Keep the installed services from starting at the next boot, on systems with systemd."""
    if shutil.which("systemctl") is not None:
        subprocess.run(["systemctl", "disable", *services], capture_output=True, check=False)
