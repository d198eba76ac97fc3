"""The measured stretches, and what each of them sends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from tests.performance import child, counters, figures, history, observability
from tests.performance.parts import Plan
from tests.performance.system import LEDGER, System
from tests.performance.users import Users
from tests.performance.yardstick import Yardstick

WITHOUT_LIMIT = 10**9
FINAL_SECONDS_MAX = 180.0
READERS = 64
WORKERS = ("transaction-worker-1", "transaction-worker-2")

# The commit of the status, by the same clock as the load generator's.
_STATUSES = """
SELECT id::text, status, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 AS at
FROM transfers WHERE created_at >= $1
"""

Measurement = dict[str, Any]


class Stretches:
    """Every part by its name. `seconds` is the length of the next stretch, `report` gets what is being done."""

    def __init__(
        self, plan: Plan, *, system: System, users: Users, yardstick: Yardstick, report: Callable[[str], None]
    ) -> None:
        self.plan, self.system, self.users, self.yardstick = plan, system, users, yardstick
        self.report = report
        self.seconds = plan.seconds
        self.uniform_per_s = 0.0

    async def ledger(self) -> Measurement:
        """The ledger alone: batches of 256 on one connection, between random accounts, then to one receiver."""
        found: Measurement = {"hot_yardstick_tps": await self.yardstick.run_hot(self.plan.yardstick_seconds)}
        for name, hot in (("uniform_256", False), ("hot_256", True)):
            posted, used = await self._post({"hot": hot, "seconds": max(1, self.seconds // 2)})
            count = posted["posted"]
            found |= {
                f"{name}_tps": figures.per_second(count, posted["seconds"]),
                f"{name}_wal_bytes_per_transfer": round(used["server"]["wal_bytes"] / count),
                f"{name}_python_cpu_us": round(posted["cpu_seconds"] / count * 1e6, 1),
                f"{name}_postgres_cpu_us": round(used["cpu"].get(f"postgres/{LEDGER}", 0.0) / count * 1e6, 1),
            }
        return found | {"wal_bytes_per_transfer": found["uniform_256_wal_bytes_per_transfer"]}

    async def uniform(self) -> Measurement:
        """Random senders and receivers, all connections."""
        measured = await self._transfers(self._job(self.plan.concurrency))
        self.uniform_per_s = measured["completed_per_s"]
        return measured

    async def uniform_64(self) -> Measurement:
        """The same with 64 connections."""
        return await self._transfers(self._job(64))

    async def hot(self) -> Measurement:
        """All senders but the first pay the first."""
        senders = len(self.users.senders)
        job = self._job(self.plan.concurrency) | {"receivers": [[self.users.senders[0].wallet_id]]}
        job["connections"] = [(1 + number % (senders - 1), 0) for number in range(self.plan.concurrency)]
        return await self._transfers(job)

    async def pingpong(self) -> Measurement:
        """Two users pay each other, 64 connections."""
        wallets = [sender.wallet_id for sender in self.users.senders[:2]]
        job = self._job(64) | {"receivers": [[wallets[1]], [wallets[0]]]}
        job["connections"] = [(number % 2, number % 2) for number in range(64)]
        return await self._transfers(job)

    async def idle(self) -> Measurement:
        """One client, one transfer at a time; it reads each transfer until it is final."""
        return await self._transfers(self._job(1) | {"kind": "polling"})

    async def half_load(self) -> Measurement:
        """Half of the rate at which the uniform load was completed."""
        if not self.uniform_per_s:
            await self.uniform()
        rate = self.uniform_per_s / 2
        return await self._transfers(self._job(self.plan.concurrency) | {"rate": rate}) | {"rate": rate}

    async def drain(self) -> Measurement:
        """A backlog that is built while the workers are down, then processed."""
        for name in WORKERS:
            await self.system.stack.take_down(name)
        job = self._job(self.plan.concurrency) | {"count": self.plan.backlog, "seconds": FINAL_SECONDS_MAX}
        began = datetime.now(UTC)
        async with child.started("tests.performance.generator", job) as process:
            sent = await process.go()
        await counters.quiet(self.system)
        before = await counters.read(self.system)
        for name in WORKERS:
            self.system.stack.bring_up(name)
        rows, used = await self._finish(before, began)
        finished = [row["at"] for id_ in sent["ids"] if (row := rows.get(id_)) and row["status"] == "COMPLETED"]
        return {
            "backlog": len(sent["ids"]),
            "per_s": figures.per_second(len(finished), max(finished, default=0.0) - min(finished, default=0.0)),
            "lost": len(sent["ids"]) - len(finished),
            **figures.costs(used, len(finished)),
        }

    async def reads(self) -> Measurement:
        """Balances read through the gateway, then the newest page of statements."""
        balances = await self._reads("/wallets/{}/balance")
        statements = await self._reads("/wallets/{}/statement")
        return {
            "balance_per_s": balances.pop("per_s"),
            "p99_ms": balances["ms"]["p99"],
            **balances,
            "statements": statements,
        }

    async def one_worker(self) -> Measurement:
        """The uniform load with one of the two workers."""
        await self.system.stack.take_down(WORKERS[1])
        try:
            return await self._transfers(self._job(self.plan.concurrency))
        finally:
            self.system.stack.bring_up(WORKERS[1])

    async def observability(self) -> Measurement:
        """The uniform load with metrics and logs, and without."""

        async def load(seconds: int) -> Measurement:
            await self.users.renew()
            return await self._transfers(self._job(self.plan.concurrency) | {"seconds": seconds})

        return await observability.compare(self.system, load, pairs=self.plan.pairs, seconds=self.seconds)

    async def history(self) -> Measurement:
        """Add transfers to the ledger alone and to the whole system, then measure both again."""
        self.report(f"adding {self.plan.history:,} transfers")
        await self._post({"hot": False, "count": self.plan.history, "seconds": WITHOUT_LIMIT})
        senders = [sender.wallet_id for sender in self.users.senders]
        receivers = self.users.receivers[len(senders) :]
        await history.add(self.system, sources=senders, destinations=receivers, count=self.plan.history)
        await counters.quiet(self.system, seconds=FINAL_SECONDS_MAX)
        return await self._all_again()

    async def many_accounts(self) -> Measurement:
        """Open further wallets, which receive as the others do, then measure again."""
        self.report(f"opening {self.plan.many_accounts:,} wallets")
        await self.users.open_wallets(self.system, self.plan.many_accounts)
        await counters.quiet(self.system, seconds=FINAL_SECONDS_MAX)
        return await self._all_again()

    async def _all_again(self) -> Measurement:
        await self.users.renew()
        [count] = await self.system.query("wallet", "SELECT count(*) AS outcomes FROM outcomes")
        return {
            "transfers": count["outcomes"],
            "accounts": len(self.users.receivers),
            "ledger": await self.ledger(),
            "uniform": await self._transfers(self._job(self.plan.concurrency)),
            "reads": await self.reads(),
        }

    async def _post(self, changes: dict[str, Any]) -> tuple[Measurement, dict[str, Any]]:
        """Run the ledger alone; what it posted and what the counters counted."""
        job = {
            "dsn": self.system.postgres.dsn(LEDGER, "payflow_wallet"),
            "accounts": len(self.users.receivers),
            "batch": 256,
            "count": WITHOUT_LIMIT,
            "seed": self.plan.seed,
        }
        async with child.started("tests.performance.ledger_core", job | changes) as process:
            before = await counters.read(self.system)
            posted = await process.go()
            return posted, figures.changes(before, await counters.read(self.system))

    def _job(self, connections: int) -> dict[str, Any]:
        """The job of a load generator: connection n sends as user n modulo their number, to a random wallet."""
        address = urlsplit(self.system.stack["gateway"])
        return {
            "kind": "transfers",
            "seed": self.plan.seed,
            "host": address.hostname,
            "port": address.port,
            "senders": [sender.login for sender in self.users.senders],
            "receivers": [self.users.receivers],
            "connections": [(number % len(self.users.senders), 0) for number in range(connections)],
            "seconds": self.seconds,
            "count": WITHOUT_LIMIT,
            "rate": 0,
        }

    async def _transfers(self, job: dict[str, Any]) -> Measurement:
        """Send, wait until everything is final and quiet, and evaluate."""
        began = datetime.now(UTC)
        async with child.started("tests.performance.generator", job) as process:
            before = await counters.read(self.system)
            sent = await process.go()
            rows, used = await self._finish(before, began)
        return figures.end_to_end(sent, rows, used) | {"connections": len(job["connections"])}

    async def _finish(self, before: dict[str, Any], began: datetime) -> tuple[dict[str, Any], dict[str, Any]]:
        """Wait for the end of all work; the transfers since `began` by id, and what the counters counted."""
        await self.system.finalized(seconds=FINAL_SECONDS_MAX)
        await counters.quiet(self.system)
        used = figures.changes(before, await counters.read(self.system))
        rows = await self.system.query("transaction", _STATUSES, began)
        return {row["id"]: row for row in rows}, used

    async def _reads(self, path: str) -> Measurement:
        """Senders read something of their own wallets."""
        job = self._job(READERS) | {"kind": "reads", "path": path, "seconds": max(1, self.seconds // 2)}
        async with child.started("tests.performance.generator", job) as process:
            before = await counters.read(self.system)
            result = await process.go()
            used = figures.changes(before, await counters.read(self.system))
        return figures.reads(result, used)
