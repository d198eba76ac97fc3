"""A RabbitMQ cluster of three nodes under load: the leader is killed repeatedly, and a minority is left alone."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from deploy.local.engines import RabbitMQCluster
from deploy.local.engines.rabbitmq_cluster import ClusterNode
from services.chassis.database import close_pool
from services.contracts.topology import REQUESTED_QUEUE, TRANSFERS_FINALIZED
from services.transaction.commands import Accepted
from services.wallet.proof import prove
from tests.harness.databases import TestDatabase
from tests.harness.outbox_items import list_subjects
from tests.harness.services import MoneyPath, accept, open_money_path, request

KILLS = 6
STATUS_OF = {"posted": "COMPLETED", "rejected": "FAILED", "voided": "FAILED"}

pytestmark = [
    pytest.mark.full_drill,
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RabbitMQCluster]:
    made = RabbitMQCluster(tmp_path_factory.mktemp("cluster"))
    await made.start()
    yield made
    made.kill()


@pytest.fixture
async def path(
    wallet_database: TestDatabase, transaction_database: TestDatabase, cluster: RabbitMQCluster
) -> AsyncIterator[MoneyPath]:
    """The money path on the cluster; afterwards the ledger proof must pass and agree with every status."""
    async with AsyncExitStack() as stack:
        opened = await open_money_path(stack, wallet_database, transaction_database, cluster)
        opened.start_relay()
        opened.start_worker("worker-1")
        opened.start_worker("worker-2")
        yield opened
        await opened.stop_all()
        proof_pool = await wallet_database.pool(wallet_database.proof_url)
        proof = await prove(proof_pool)
        await close_pool(proof_pool)
        outcomes = {
            row["transfer_id"]: row["outcome"]
            for row in await opened.wallet_pool.fetch("SELECT transfer_id, outcome FROM outcomes")
        }
        statuses = {row["id"]: row["status"] for row in await opened.pool.fetch("SELECT id, status FROM transfers")}
        event_counts = Counter(await list_subjects(opened.pool, TRANSFERS_FINALIZED))
    assert proof.ok, proof
    assert statuses == {id_: STATUS_OF.get(outcomes.get(id_, "")) for id_ in statuses}
    assert dict.fromkeys(statuses, 1) == dict(event_counts)


@asynccontextmanager
async def load(path: MoneyPath) -> AsyncIterator[list[UUID]]:
    """Accept about 100 transfers a second during the block, with frequent passes of the reversal."""
    users = await path.users([1_000_000] * 8)
    intake = path.intake()
    rng = random.Random(5)
    ids: list[UUID] = []

    async def send() -> None:
        while True:
            pairs = [rng.sample(users, 2) for _ in range(5)]
            batch = [request(sender, receiver, rng.randint(1, 9)) for (sender, _), (_, receiver) in pairs]
            responses = await accept(intake, *batch)
            ids.extend(response.transfer.id for response in responses if isinstance(response, Accepted))
            await asyncio.sleep(0.05)

    async def reverse() -> None:
        while True:
            await path.sweep()
            await asyncio.sleep(0.4)

    tasks = [asyncio.create_task(send()), asyncio.create_task(reverse())]
    try:
        yield ids
        for task in tasks:
            assert not task.done(), task
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def get_page(node: ClusterNode, page: str) -> Any:
    """A page of a node's management API."""
    async with aiohttp.ClientSession() as session, session.get(f"{node.management_url}/api/{page}") as response:
        return await response.json()


async def leader(cluster: RabbitMQCluster) -> ClusterNode:
    """The node that leads the command queue, once all members are online."""
    async with asyncio.timeout(60):
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                for node in cluster.nodes:
                    queue = await get_page(node, f"queues/%2F/{REQUESTED_QUEUE.name}")
                    if len(queue.get("online", [])) == len(cluster.nodes):
                        return next(peer for peer in cluster.nodes if peer.node == queue["leader"])
            await asyncio.sleep(0.2)


async def finalized(path: MoneyPath, ids: list[UUID], count: int) -> None:
    """Wait until the next `count` accepted transfers are terminal."""
    start = len(ids)
    async with asyncio.timeout(60):
        while len(ids) < start + count:
            await asyncio.sleep(0.05)
    await path.finalized(ids[start : start + count], seconds=60)


async def test_the_leader_killed_again_and_again(path: MoneyPath, cluster: RabbitMQCluster) -> None:
    """The leader of the queue is killed under load, comes back, the next one is killed: nothing lost, doubled or stuck."""
    killed: Counter[str] = Counter()
    async with load(path) as ids:
        for _ in range(KILLS):
            await finalized(path, ids, 50)
            node = await leader(cluster)
            node.kill()
            killed[node.node] += 1
            await finalized(path, ids, 50)
            node.spawn()
            await node.wait_ready()
    done = await path.finalized(ids, seconds=90)

    assert len(killed) > 1
    # Two of three are always up, so no transfer had to wait for the reversal.
    assert {"COMPLETED": len(ids)} == Counter(transfer.status for transfer in done.values())


async def test_a_minority_alone(path: MoneyPath, cluster: RabbitMQCluster) -> None:
    """Two of three are down: publishing fails, accepting continues, rows wait; with a majority back everything completes."""
    async with load(path) as ids:
        await finalized(path, ids, 50)
        leading = await leader(cluster)
        down = [leading, next(node for node in cluster.nodes if node is not leading)]
        for node in down:
            node.kill()
        before = len(ids)
        async with asyncio.timeout(60):
            while len(ids) < before + 500:
                await asyncio.sleep(0.05)
        waiting = await path.pool.fetchval(
            "SELECT sum(cardinality(subject_ids)) FROM outbox WHERE published_at IS NULL"
        )
        for node in down:
            node.spawn()
        await asyncio.gather(*(node.wait_ready() for node in down))
        await finalized(path, ids, 50)
    done = await path.finalized(ids, seconds=90)

    assert waiting > 100
    assert len(ids) == len(done)
    assert {"COMPLETED", "FAILED"} >= {transfer.status for transfer in done.values()}
