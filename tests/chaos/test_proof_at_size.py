"""The proof of a ledger of two million entries: its time, CPU and memory, and the share of the machine of the periodic runs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from services.chassis.database import close_pool
from services.wallet import commands
from services.wallet.proof import verify
from tests.harness import large_ledger, usage
from tests.harness.databases import DataFolder, TestDatabase
from tests.harness.drills import bound
from tests.harness.sealed_ledgers import faults
from tests.harness.stack import Stack, running

TRANSFERS = bound(2_000, 1_000_000)
ACCOUNTS = bound(50, 10_000)
SHARE_MAX = 0.03
SEALED_SECONDS_MAX = 900
PERIOD_SECONDS_MAX = 1500


@dataclass
class Cost:
    """The CPU seconds of a role and of its database sessions, and the most memory that the role used."""

    role: float
    sessions: float
    memory_bytes: int


class Meter:
    """Measures one role and the sessions of one database login; readings miss at most what a session does in its last second."""

    def __init__(self, stack: Stack, owner: asyncpg.Connection, *, role: str, login: str) -> None:
        self._pid = stack["pids"][role]
        self._owner = owner
        self._login = login
        self._first: dict[int, float] = {}
        self._last: dict[int, float] = {}
        self._memory_bytes = 0

    async def read(self) -> None:
        """Read the processes."""
        sessions = await self._owner.fetch("SELECT pid FROM pg_stat_activity WHERE usename = $1", self._login)
        is_first = not self._last
        for pid in (self._pid, *(row["pid"] for row in sessions)):
            try:
                found = usage.of(pid)
            except (FileNotFoundError, ProcessLookupError):
                continue
            # A session that appears later has done nothing before.
            self._first.setdefault(pid, found.cpu_seconds if is_first else 0.0)
            self._last[pid] = found.cpu_seconds
            if pid == self._pid:
                self._memory_bytes = max(self._memory_bytes, found.memory_bytes)

    @property
    def cost(self) -> Cost:
        """What was used between the first reading and the last."""
        spent = {pid: self._last[pid] - self._first[pid] for pid in self._last}
        role = spent.pop(self._pid)
        return Cost(role, sum(spent.values()), self._memory_bytes)


async def measured_verify(stack: Stack, meter: Meter, folder: Path, *options: str) -> tuple[dict[str, Any], float]:
    """Run `payflow ledger verify`; its document, and the seconds it took."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PAYFLOW_GATEWAY": stack["gateway"]}
    payflow = str(Path(sys.executable).with_name("payflow"))
    login = await asyncio.create_subprocess_exec(
        payflow, "login", "ops@example.com", env=environment | {"PAYFLOW_PASSWORD": "payflow-demo-1"}
    )
    assert 0 == await login.wait()
    await meter.read()
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        payflow, "ledger", "verify", "--json", *options, env=environment, stdout=asyncio.subprocess.PIPE
    )
    reading = asyncio.create_task(process.communicate())
    while not reading.done():
        await meter.read()
        await asyncio.wait({reading}, timeout=0.5)
    seconds = time.monotonic() - began
    await meter.read()
    assert 0 == process.returncode
    return json.loads((await reading)[0]), seconds


async def test_a_generated_ledger_passes_the_proof(wallet_database: TestDatabase) -> None:
    """The generator writes what the proof accepts, in sealed blocks, with every account in use."""
    owner = await asyncpg.connect(wallet_database.owner_url)
    seal_pool = await wallet_database.pool(wallet_database.seal_url)
    await large_ledger.write(owner, accounts=50, transfers=2_000)
    await commands.seal_rows(seal_pool, recorded_head=None, thorough=True, with_accounts=True)

    proof = await verify(seal_pool)
    entries = await owner.fetchval("SELECT count(*) FROM entries")
    await owner.close()
    await close_pool(seal_pool)

    assert ({}, 2 * (2_000 + 50)) == (faults(proof), entries)
    assert proof.head is not None


@pytest.fixture
async def large(
    tmp_path_factory: pytest.TempPathFactory, data_folder: DataFolder
) -> AsyncIterator[tuple[Stack, asyncpg.Connection]]:
    """A stack with a large ledger that is sealed, and a connection of the owner of the wallet's database."""
    async with running(tmp_path_factory.mktemp("stack"), data=data_folder, forked=False) as stack:
        owner = await asyncpg.connect(stack["databases"]["wallet"])
        await large_ledger.write(owner, accounts=ACCOUNTS, transfers=TRANSFERS)
        sealed = "SELECT coalesce(sum(cardinality(outcomes)), 0) >= $1 FROM blocks"
        async with asyncio.timeout(SEALED_SECONDS_MAX):
            while not await owner.fetchval(sealed, TRANSFERS + ACCOUNTS):
                await asyncio.sleep(0.4)
        yield stack, owner
        await owner.close()


@pytest.mark.full_drill
@pytest.mark.timeout(3600)
async def test_the_proof_of_a_large_ledger(large: tuple[Stack, asyncpg.Connection], tmp_path: Path) -> None:
    """Guarantee 16: two million entries are verified with progress, and the periodic runs use less than 3 % of the machine.

    The period begins with the start of the sealer, whose first run compares everything, and ends with its second run.
    """
    stack, owner = large
    for options in ((), ("--full",)):
        meter = Meter(stack, owner, role="wallet", login="payflow_wallet_proof")
        proof, seconds = await measured_verify(stack, meter, tmp_path, *options)
        assert proof["ok"], proof
        report(f"verify {' '.join(options)}", seconds, meter.cost)

    killed = stack["pids"]["wallet-seal"]
    os.kill(killed, signal.SIGKILL)
    async with asyncio.timeout(60):
        while stack["pids"].get("wallet-seal") in {None, killed}:
            await asyncio.sleep(0.05)
    began, runs = time.monotonic(), 0
    meter = Meter(stack, owner, role="wallet-seal", login="payflow_wallet_seal")
    at = await owner.fetchval("SELECT at FROM last_proof")
    async with asyncio.timeout(PERIOD_SECONDS_MAX):
        while runs < 2:
            await meter.read()
            await asyncio.sleep(0.4)
            newest = await owner.fetchval("SELECT at FROM last_proof")
            if newest != at:
                at, runs = newest, runs + 1
                report(f"periodic run {runs} and all before", time.monotonic() - began, meter.cost)
    seconds = time.monotonic() - began
    share = (meter.cost.role + meter.cost.sessions) / seconds / (os.cpu_count() or 1)
    print(f"share of the machine over {seconds:.0f} s: {share:.2%}, load average {os.getloadavg()[0]:.1f}")
    assert share < SHARE_MAX


def report(what: str, seconds: float, cost: Cost) -> None:
    """Print one line of the figures."""
    print(
        f"{what}: {seconds:.1f} s, CPU {cost.role:.1f} s in the role and {cost.sessions:.1f} s in PostgreSQL, "
        f"{cost.memory_bytes / 2**20:.0f} MiB in the role"
    )
