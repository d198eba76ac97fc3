"""Counters of a running stack: CPU of each process, rows written, log written, batches. Two readings make a measurement."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.harness.stack import Stack
from tests.performance.system import System

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
HISTOGRAMS = ("payflow_batch_items", "payflow_ledger_batch_size")
QUIET_CORES = 0.15
QUIET_SECONDS = 0.5
QUIET_SECONDS_MAX = 6.0

_ROWS = """
SELECT relname AS name, n_tup_ins AS inserted, n_tup_upd AS updated, n_tup_del AS deleted FROM pg_stat_user_tables
"""
_SERVER = """
SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::float8 AS wal_bytes, wal_fpi::float8 AS wal_page_images,
       wal_sync::float8 AS wal_syncs,
       (SELECT sum(xact_commit)::float8 FROM pg_stat_database WHERE datname = ANY($1)) AS commits
FROM pg_stat_wal
"""


async def read(system: System) -> dict[str, Any]:
    """All counters now: `cpu` in seconds, `rows` by database and table, `server`, `batches`."""
    rows = {name: await _rows(system, name) for name in system.databases}
    [server] = await system.query("postgres", _SERVER, system.databases)
    return {
        "rows": rows,
        "server": dict(server),
        "batches": await _batches(system.stack),
        "cpu": cpu(system.stack),
    }


async def _rows(system: System, database: str) -> dict[str, dict[str, int]]:
    found = await system.query(database, _ROWS)
    return {row["name"]: {kind: row[kind] for kind in ("inserted", "updated", "deleted")} for row in found}


def cpu(stack: Stack) -> dict[str, float]:
    """CPU seconds by process name, descendants included; PostgreSQL's backends by database as `postgres/NAME`."""
    children = _children()
    used: dict[str, float] = {}
    for name, pid in stack["pids"].items():
        for part, seconds in _tree(name, pid, children):
            used[part] = used.get(part, 0.0) + seconds
    return used


def _tree(name: str, pid: int, children: dict[int, list[int]]) -> Iterator[tuple[str, float]]:
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        waiting += children.get(one, [])
        try:
            fields = _stat(one)
            title = Path(f"/proc/{one}/cmdline").read_bytes().split(b"\0")[0].decode() if name == "postgres" else ""
        except OSError:
            continue
        # utime, stime, and those of descendants that have ended.
        yield _part(name, title), sum(int(field) for field in fields[11:15]) * TICK_SECONDS


def _part(name: str, title: str) -> str:
    """`postgres: payflow_wallet wallet 127.0.0.1(4711) idle` is a backend of the database wallet."""
    words = title.split()
    if len(words) > 3 and words[0] == "postgres:" and "(" in words[3]:
        return f"{name}/{words[2]}"
    return f"{name}/{words[1]}" if len(words) > 1 and words[0] == "postgres:" else name


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for pid in psutil.pids():
        with suppress(OSError):
            found.setdefault(int(_stat(pid)[1]), []).append(pid)
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on; the second, the name, may contain anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


async def _batches(stack: Stack) -> dict[str, dict[str, float]]:
    """`count` and `sum` of the histograms of batches, by the kind of batch."""
    found: dict[str, dict[str, float]] = {}
    async with aiohttp.ClientSession() as session:
        for name, url in stack["metrics"].items():
            for kind, part, value in _samples(name, await _page(session, url)):
                one = found.setdefault(kind, {"count": 0.0, "sum": 0.0})
                one[part] += value
    return found


async def _page(session: aiohttp.ClientSession, url: str) -> str:
    """The metrics of one process; nothing while it is kept down."""
    try:
        async with session.get(f"{url.removesuffix('/metrics')}/metrics") as response:
            return await response.text()
    except aiohttp.ClientConnectionError:
        return ""


def _samples(process: str, text: str) -> Iterator[tuple[str, str, float]]:
    lines = "\n".join(line for line in text.splitlines() if line.removeprefix("# TYPE ").startswith(HISTOGRAMS))
    for family in text_string_to_metric_families(lines + "\n"):
        for sample in family.samples:
            part = sample.name.removeprefix(family.name).removeprefix("_")
            if part in {"count", "sum"}:
                kind = sample.labels.get("batch", "ledger")
                yield f"{process.removesuffix('-1').removesuffix('-2')}: {kind}", part, sample.value


async def quiet(system: System, *, seconds: float = QUIET_SECONDS_MAX) -> None:
    """Wait until the processes do little: notifications and other work after the last transfer are also counted."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        before, began = sum(cpu(system.stack).values()), loop.time()
        await asyncio.sleep(QUIET_SECONDS)
        if sum(cpu(system.stack).values()) - before < QUIET_CORES * (loop.time() - began):
            return
