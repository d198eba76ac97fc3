"""The yardstick PG-1: pgbench on the same server, one transfer per commit with plain statements."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from deploy.local.engines.postgres import CLEAN_ENVIRONMENT, find_programs
from deploy.local.errors import LocalError
from deploy.local.process import ended_with_parent
from tests.performance import counters
from tests.performance.system import YARDSTICK, System

ACCOUNTS = 10_000
CLIENTS = 32
THREADS = 2

TABLES = f"""
CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0)) WITH (fillfactor = 70);
CREATE TABLE entries (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account_id int NOT NULL, amount bigint NOT NULL);
INSERT INTO accounts SELECT id, 1000000000 FROM generate_series(1, {ACCOUNTS}) AS id;
"""

UNIFORM = f"\\set a random(1, {ACCOUNTS})\n\\set b 1 + mod(:a + random(0, {ACCOUNTS - 2}), {ACCOUNTS})\n"
HOT = f"\\set a random(2, {ACCOUNTS})\n\\set b 1\n"
TRANSFER = """\
BEGIN;
SELECT id, balance FROM accounts WHERE id IN (:a, :b) ORDER BY id FOR UPDATE;
UPDATE accounts SET balance = balance - 1 WHERE id = :a;
UPDATE accounts SET balance = balance + 1 WHERE id = :b;
INSERT INTO entries (account_id, amount) VALUES (:a, -1);
INSERT INTO entries (account_id, amount) VALUES (:b, 1);
COMMIT;
"""


class Yardstick:
    """Runs of pgbench; each rate is kept."""

    def __init__(self, system: System, folder: Path) -> None:
        self._system = system
        self._dsn = system.postgres.dsn(YARDSTICK)
        programs = find_programs()
        assert programs is not None, "the server runs"
        self._program = programs / "pgbench"
        self._folder = folder
        self.uniform: list[float] = []
        self.hot: list[float] = []
        self.cpu_us: list[float] = []
        """Of the server, for one transfer: unlike the rate it hardly depends on what else the machine does."""

    async def prepare(self) -> None:
        """Create the tables and the scripts.

        Raises:
            LocalError: there is no pgbench.
        """
        if not self._program.exists():
            raise LocalError(f"pgbench is missing: expected at {self._program}")
        connection = await asyncpg.connect(self._dsn)
        await connection.execute(TABLES)
        await connection.execute("VACUUM ANALYZE accounts")
        await connection.close()
        (self._folder / "uniform.sql").write_text(UNIFORM + TRANSFER)
        (self._folder / "hot.sql").write_text(HOT + TRANSFER)

    async def run(self, seconds: int) -> float:
        """Transfers per second between random accounts."""
        before = self._cpu()
        self.uniform.append(await self._run("uniform.sql", seconds))
        self.cpu_us.append(round((self._cpu() - before) / (self.uniform[-1] * seconds) * 1e6, 1))
        return self.uniform[-1]

    async def run_hot(self, seconds: int) -> float:
        """Transfers per second to one account."""
        self.hot.append(await self._run("hot.sql", seconds))
        return self.hot[-1]

    def _cpu(self) -> float:
        return sum(seconds for name, seconds in counters.cpu(self._system.stack).items() if name.startswith("postgres"))

    def _login(self) -> dict[str, str]:
        parts = urlsplit(self._dsn)
        return {
            "PGHOST": str(parts.hostname),
            "PGPORT": str(parts.port),
            "PGUSER": str(parts.username),
            "PGPASSWORD": str(parts.password),
            "PGDATABASE": YARDSTICK,
        }

    async def _run(self, script: str, seconds: int) -> float:
        """The rate of one run; a run in which the clients had no time to connect is repeated, longer."""
        for part in (seconds, 2 * seconds, 4 * seconds):
            if rate := await self._rate(script, part):
                return rate
        raise LocalError(f"pgbench completed nothing in {4 * seconds} s")

    async def _rate(self, script: str, seconds: int) -> float:
        options = ["-n", "-M", "prepared", "-c", str(CLIENTS), "-j", str(THREADS), "-T", str(seconds), "-f", script]
        process = await asyncio.create_subprocess_exec(
            *(*ended_with_parent(), str(self._program), *options),
            cwd=self._folder,
            env=CLEAN_ENVIRONMENT | self._login(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        found = re.search(rb"tps = ([0-9.]+)", output)
        if process.returncode != 0:
            raise LocalError(f"pgbench failed: {output.decode(errors='replace').strip().splitlines()[-1:]}")
        return round(float(found[1]), 1) if found else 0.0
