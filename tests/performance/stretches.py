"""The measured stretches. Each is preceded and followed by the yardstick, and followed by the proof."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from tests.performance import child, counters, figures, proof
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


@dataclass
class Run:
    """A run in progress and what it found so far."""

    plan: Plan
    system: System
    users: Users
    yardstick: Yardstick
    found: dict[str, Measurement] = field(default_factory=dict)
    proofs: dict[str, dict[str, bool]] = field(default_factory=dict)

    async def part(self, name: str) -> Measurement:
        """Measure one part between two runs of the yardstick, and prove the books."""
        await self.users.renew()
        before = await self.yardstick.run(self.plan.yardstick_seconds)
        measured = await MEASURE[name](self)
        self.proofs[name] = await proof.check(self.system)
        if name == "ledger":
            self.proofs["ledger_alone"] = await proof.check_ledger(self.system, LEDGER)
        after = await self.yardstick.run(self.plan.yardstick_seconds)
        measured["yardstick_tps"] = round((before + after) / 2, 1)
        self.found[name] = measured
        return measured


async def ledger(run: Run) -> Measurement:
    """The ledger alone: batches of 256 on one connection, between random accounts, then to one receiver."""
    found: Measurement = {"hot_yardstick_tps": await run.yardstick.run_hot(run.plan.yardstick_seconds)}
    for name, hot in (("uniform_256", False), ("hot_256", True)):
        job = {
            "dsn": run.system.postgres.dsn(LEDGER, "payflow_wallet"),
            "accounts": run.plan.accounts,
            "batch": 256,
            "hot": hot,
            "seconds": max(1, run.plan.seconds // 2),
            "count": WITHOUT_LIMIT,
        }
        async with child.started("tests.performance.ledger_core", job) as process:
            before = await counters.read(run.system)
            result = await process.go()
            used = figures.changes(before, await counters.read(run.system))
        posted = result["posted"]
        found |= {
            f"{name}_tps": figures.per_second(posted, result["seconds"]),
            f"{name}_wal_bytes_per_transfer": round(used["server"]["wal_bytes"] / posted),
            f"{name}_python_cpu_us": round(result["cpu_seconds"] / posted * 1e6, 1),
            f"{name}_postgres_cpu_us": round(used["cpu"].get(f"postgres/{LEDGER}", 0.0) / posted * 1e6, 1),
        }
    return found | {"wal_bytes_per_transfer": found["uniform_256_wal_bytes_per_transfer"]}


async def uniform(run: Run) -> Measurement:
    """Random senders and receivers, all connections."""
    return await _transfers(run, _uniform(run, run.plan.concurrency))


async def uniform_64(run: Run) -> Measurement:
    """The same with 64 connections."""
    return await _transfers(run, _uniform(run, 64))


async def hot(run: Run) -> Measurement:
    """All senders pay one receiver."""
    job = _uniform(run, run.plan.concurrency) | {"receivers": [[run.users.senders[0].wallet_id]]}
    # The receiver itself sends nothing.
    job["connections"] = [(1 + number % (len(run.users.senders) - 1), 0) for number in range(run.plan.concurrency)]
    return await _transfers(run, job)


async def pingpong(run: Run) -> Measurement:
    """Two users pay each other, 64 connections."""
    wallets = [sender.wallet_id for sender in run.users.senders[:2]]
    job = _uniform(run, 64) | {"receivers": [[wallets[1]], [wallets[0]]]}
    job["connections"] = [(number % 2, number % 2) for number in range(64)]
    return await _transfers(run, job)


async def idle(run: Run) -> Measurement:
    """One client, one transfer at a time; it reads each transfer until it is final."""
    return await _transfers(run, _uniform(run, 1) | {"kind": "polling"})


async def half_load(run: Run) -> Measurement:
    """Half of the rate that the uniform load completed."""
    measured = run.found.get("uniform") or await uniform(run)
    rate = measured["completed_per_s"] / 2
    return await _transfers(run, _uniform(run, run.plan.concurrency) | {"rate": rate}) | {"rate": rate}


async def drain(run: Run) -> Measurement:
    """A backlog built while the workers are down, then worked off."""
    for name in WORKERS:
        await run.system.stack.take_down(name)
    job = _uniform(run, run.plan.concurrency) | {"count": run.plan.backlog, "seconds": FINAL_SECONDS_MAX}
    began = datetime.now(UTC)
    async with child.started("tests.performance.generator", job) as process:
        sent = await process.go()
    await counters.quiet(run.system)
    before = await counters.read(run.system)
    for name in WORKERS:
        run.system.stack.bring_up(name)
    rows, used = await _finish(run, before, began)
    finished = [row["at"] for id_ in sent["ids"] if (row := rows.get(id_)) and row["status"] == "COMPLETED"]
    return {
        "backlog": len(sent["ids"]),
        "per_s": figures.per_second(len(finished), max(finished) - min(finished)),
        "lost": len(sent["ids"]) - len(finished),
        **figures.costs(used, len(finished)),
    }


async def reads(run: Run) -> Measurement:
    """Balances read through the gateway."""
    job = _uniform(run, READERS) | {"kind": "balances"}
    async with child.started("tests.performance.generator", job) as process:
        before = await counters.read(run.system)
        result = await process.go()
        used = figures.changes(before, await counters.read(run.system))
    count = len(result["accepted"])
    return {
        "balance_per_s": figures.per_second(count, result["last_accepted_at"] - result["began"]),
        "p99_ms": figures.percentiles(result["accepted"])["p99"],
        "read_ms": figures.percentiles(result["accepted"]),
        "statuses": result["statuses"],
        "generator_cpu_us": round(result["cpu_seconds"] / max(1, count) * 1e6, 1),
        "cpu_us": figures.each(used["cpu"], count, scale=1e6),
    }


def _uniform(run: Run, connections: int) -> dict[str, Any]:
    """The job of a load generator: connection n sends as user n modulo their number, to anyone."""
    address = urlsplit(run.system.stack["gateway"])
    return {
        "kind": "transfers",
        "host": address.hostname,
        "port": address.port,
        "senders": [sender.login for sender in run.users.senders],
        "receivers": [run.users.receivers],
        "connections": [(number % len(run.users.senders), 0) for number in range(connections)],
        "seconds": run.plan.seconds,
        "count": WITHOUT_LIMIT,
        "rate": 0,
    }


async def _transfers(run: Run, job: dict[str, Any]) -> Measurement:
    """Send, wait until everything is final and quiet, and evaluate."""
    began = datetime.now(UTC)
    async with child.started("tests.performance.generator", job) as process:
        before = await counters.read(run.system)
        sent = await process.go()
        rows, used = await _finish(run, before, began)
    return figures.end_to_end(sent, rows, used) | {"connections": len(job["connections"])}


async def _finish(run: Run, before: dict[str, Any], began: datetime) -> tuple[dict[str, Any], dict[str, Any]]:
    """Wait for the end of all work; the transfers since `began` by id, and what the counters counted."""
    await run.system.finalized(seconds=FINAL_SECONDS_MAX)
    await counters.quiet(run.system)
    used = figures.changes(before, await counters.read(run.system))
    rows = await run.system.query("transaction", _STATUSES, began)
    return {row["id"]: row for row in rows}, used


MEASURE: dict[str, Callable[[Run], Awaitable[Measurement]]] = {
    measure.__name__: measure for measure in (ledger, uniform, uniform_64, hot, pingpong, idle, half_load, drain, reads)
}
