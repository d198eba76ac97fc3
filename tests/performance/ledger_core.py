"""The ledger alone, in a process of its own: no HTTP, no broker, one connection: `python -m tests.performance.ledger_core`."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import uvloop

from services.chassis import database, roles
from services.chassis.database import Pool, Uuid
from services.contracts.identifiers import new_id, new_id_text
from services.wallet import commands, store
from services.wallet.app import PLANNER
from services.wallet.ledger import Posting
from tests.performance import child

HASH = sha256(b"load").digest()
DEPOSIT_MINOR = 10**9
FUNDED = 10_000
"""The accounts that send; further ones only receive."""

LIFE = timedelta(hours=1)
WARM_UP_SECONDS = 0.3

Pick = Callable[[], tuple[UUID, UUID]]


def posting(source: UUID, destination: UUID, amount: int, expires_at: datetime) -> Posting:
    """A new transfer, with the id in the form in which the service's parser returns it."""
    return Posting(Uuid(new_id_text()), source, destination, amount, "USD", expires_at, None, HASH)


async def post(pool: Pool, pick: Pick, job: dict[str, Any]) -> dict[str, float]:
    """Post batches of transfers of one minor unit until the seconds or the transfers are over."""
    posted, began, cpu = 0, time.perf_counter(), time.process_time()
    expires_at = datetime.now(UTC) + LIFE
    while time.perf_counter() - began < job["seconds"] and posted < job["count"]:
        batch = [posting(*pick(), 1, expires_at) for _ in range(job["batch"])]
        results = await commands.post_transfers(pool, batch, deadline=float("inf"))
        assert all(result.outcome == "posted" for result in results), results
        posted += len(batch)
    return {
        "posted": posted,
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
    }


async def accounts(pool: Pool, count: int) -> list[UUID]:
    """So many accounts, those with money first; those of an earlier run are used again."""
    [(external, _, _)] = await commands.find_accounts(pool, ids=[], owners=[], external=["USD"])
    rows = await pool.fetch("SELECT id FROM accounts WHERE owner_id IS NOT NULL ORDER BY posted DESC LIMIT $1", count)
    new = [(new_id(), new_id(), "USD") for _ in range(count - len(rows))]
    for first in range(0, len(new), 1000):
        async with database.transaction(pool) as connection:
            await store.insert_accounts(connection, new[first : first + 1000])
    wallets = [row["id"] for row in rows] + [id_ for id_, _, _ in new]
    expires_at = datetime.now(UTC) + LIFE
    for first in range(len(rows), min(FUNDED, count), 256):
        deposits = [
            posting(external, id_, DEPOSIT_MINOR, expires_at) for id_ in wallets[first : min(first + 256, FUNDED)]
        ]
        await commands.post_transfers(pool, deposits, deadline=float("inf"))
    return wallets


def uniform(sources: list[UUID], destinations: list[UUID]) -> Pick:
    """Two random accounts, of which the second is never the first."""

    def pick() -> tuple[UUID, UUID]:
        source = sources[int(random.random() * len(sources))]
        number = int(random.random() * len(destinations))
        return source, destinations[number] if destinations[number] != source else destinations[number - 1]

    return pick


async def main(job: dict[str, Any]) -> dict[str, float]:
    """Open one connection, wait for the start, post."""
    pool = await database.open_pool(job["dsn"], name="ledger core", size_max=1, server_settings=PLANNER)
    if "sources" in job:
        pick = uniform([Uuid(id_) for id_ in job["sources"]], [Uuid(id_) for id_ in job["destinations"]])
    else:
        wallets = await accounts(pool, job["accounts"])
        pick = uniform(wallets[1:FUNDED], wallets[:1]) if job["hot"] else uniform(wallets[:FUNDED], wallets)
    random.seed(job["seed"])
    await post(pool, pick, job | {"seconds": WARM_UP_SECONDS})
    roles.collect_rarely()
    child.wait_for_go()
    result = await post(pool, pick, job)
    await database.close_pool(pool)
    return result


if __name__ == "__main__":
    child.finish(uvloop.run(main(child.read_job())))
