"""The stack of `make run` on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg

from deploy import facts
from deploy.doctor import host, periods, pools, probe, processes, revisions, secrets
from deploy.doctor.findings import Finding, passed_unless, warn
from deploy.doctor.periods import PoolUse, Stopping
from deploy.doctor.processes import Probe
from deploy.local import files, install, lock, ports, process, roles
from deploy.local.home import Home
from deploy.programs import DeployError

CONNECT_SECONDS_MAX = 5.0
REVERSAL_AFTER = "PAYFLOW_REVERSAL_AFTER_SECONDS"


def before() -> Iterator[Finding]:
    """What can be known before `make run`."""
    home = Home.from_environment(os.environ)
    yield from host.check_programs(install.missing(), advice="`make engines` installs it from the OS packages")
    port = roles.gateway_port(os.environ)
    if lock.holder(home.lock) is None:
        used = [] if ports.is_free(port) else [port]
        yield from host.check_ports(used, [port], advice="stop it, or set PAYFLOW_GATEWAY_PORT")
    yield from _check_folder(home)
    data = [name for name in ("postgres",) if (home.path / name / "data").exists()]
    yield from secrets.check_orphaned_volumes(data, has_store=home.secrets.exists(), path=str(home.secrets))


def after() -> Iterator[Finding]:
    """The running stack.

    Raises:
        DeployError: none is running.
    """
    home = Home.from_environment(os.environ)
    if lock.holder(home.lock) is None:
        raise DeployError(f"nothing is running in {home.path}: start it with `make run`")
    stack = files.read_object(home.stack)
    if stack is None:
        raise DeployError(f"the stack in {home.path} is not ready yet: see the terminal that runs it")
    yield from check_kept_down(sorted(entry.name for entry in home.down.iterdir()), folder=str(home.down))
    yield from check_stack(stack, secrets_path=home.secrets)
    yield from _check_folder(home)


def check_stack(stack: Mapping[str, Any], *, secrets_path: Path) -> Iterator[Finding]:
    """Everything that a running stack says of itself."""
    advice = f"read its log: {secrets_path.parent / 'logs'}/ROLE*.log"
    probes = probe_all(stack)
    # PAYFLOW_CANARY=off leaves it out.
    expected = [role for role in facts.ROLES if role != roles.CANARY.identity or role in stack["metrics"]]
    yield from processes.check_roles(probes, expected, advice=advice)
    yield from processes.check_readiness(probes, advice=advice)
    yield from processes.check_versions(probes)
    yield from processes.check_jobs(probes, now=time.time(), advice=advice)
    yield from processes.check_queues(probes)
    yield from processes.check_ledger(probes)
    yield from processes.check_open_files(probes)
    found, connections_max = asyncio.run(read_databases(stack["databases"]))
    yield from host.check_revisions(found, revisions.expected())
    yield from periods.check_connections(uses_of(stack), connections_max=connections_max)
    yield from periods.check_transfer_periods(
        reversal_after=float(_environment(stack, "transaction").get(REVERSAL_AFTER, facts.PERIODS.reversal_after)),
        message_lifetime=facts.PERIODS.message_lifetime,
    )
    stopping = [Stopping(name, 0.0, process.STOP_SECONDS_MAX) for name in sorted(facts.ROLES)]
    yield from periods.check_stopping(stopping, drain=facts.PERIODS.stop_max)
    yield from secrets.check_store(files.read_object(secrets_path) or {}, path=str(secrets_path))


def check_kept_down(names: list[str], *, folder: str) -> list[Finding]:
    """No process is kept down on purpose."""
    found = [warn("roles", f"{name} is kept down", f"to start it: rm {folder}/{name}") for name in names]
    return passed_unless(found, "kept down", "no process is kept down")


def probe_all(stack: Mapping[str, Any]) -> list[Probe]:
    """Read every process of stack.json that runs."""
    identities = {role.name: role.identity for role in (*roles.ROLES, roles.CANARY)}
    running = [(name, url) for name, url in stack["metrics"].items() if name in stack["pids"]]

    def read(name: str, url: str) -> Probe:
        base = url.removesuffix("/metrics")
        ready = probe.read(f"{base}/readyz")
        return Probe(
            name,
            identities[name],
            metrics=probe.read(f"{base}/metrics"),
            ready=None if ready is None else json.loads(ready),
            open_files=_open_files(stack["pids"][name]),
        )

    with ThreadPoolExecutor() as threads:
        return list(threads.map(lambda pair: read(*pair), running))


def uses_of(stack: Mapping[str, Any]) -> list[PoolUse]:
    """The connections of each role, by the number of its processes."""
    identities = {role.name: role.identity for role in (*roles.ROLES, roles.CANARY)}
    counts = Counter(identities[name] for name in stack["metrics"])
    environments = {identities[name]: _environment(stack, name) for name in stack["metrics"]}
    return pools.list_uses(counts, environments)


async def read_databases(urls: Mapping[str, str]) -> tuple[dict[str, str | None], int | None]:
    """The revision of each database, and `max_connections` of the server; None without a response."""
    found: dict[str, str | None] = {}
    connections_max = None
    for service, url in urls.items():
        found[service] = None
        try:
            connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS_MAX)
        except (OSError, TimeoutError, asyncpg.PostgresError):
            continue
        try:
            found[service] = await connection.fetchval(revisions.STATEMENT)
            connections_max = int(await connection.fetchval("show max_connections"))
        except asyncpg.PostgresError:
            continue
        finally:
            await connection.close()
    return found, connections_max


def _check_folder(home: Home) -> Iterator[Finding]:
    if home.path.exists():
        paths = (home.path, home.secrets, home.stack)
        modes = {str(path): path.stat().st_mode & 0o777 for path in paths if path.exists()}
        yield from secrets.check_modes(modes)
    existing = next(path for path in (home.path, *home.path.parents) if path.exists())
    usage = shutil.disk_usage(existing)
    yield from host.check_disk(str(existing), total=usage.total, free=usage.free)


def _open_files(pid: int) -> int | None:
    try:
        return resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]
    except OSError:
        return None


def _environment(stack: Mapping[str, Any], name: str) -> dict[str, str]:
    """The variables of a running process: some come from the shell that started the stack."""
    try:
        entries = Path(f"/proc/{stack['pids'].get(name)}/environ").read_text(errors="replace").split("\0")
    except OSError:
        entries = []
    return dict(entry.partition("=")[::2] for entry in entries if entry)
