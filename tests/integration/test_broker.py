"""Connecting to one of several nodes, and a queue that exists but has no leader."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from deploy.local.engines import RabbitMQ
from deploy.local.engines.rabbitmq import ELECTION
from deploy.local.ports import find_free
from services.chassis import broker, metrics
from services.chassis.broker import OutgoingMessage, Publisher
from services.chassis.consumer import Consumer, Delivery, Verdict
from services.chassis.roles import Runtime
from services.contracts import topology
from services.contracts.topology import REQUESTED_QUEUE, TRANSFERS_REQUESTED

RUNBOOK = Path(__file__).parents[2] / "docs" / "operations" / "queue-without-leader.md"
PROBE = [OutgoingMessage(topology.COMMANDS, TRANSFERS_REQUESTED.type, b"{}")]


async def test_connecting_skips_dead_nodes(rabbitmq: RabbitMQ) -> None:
    """With several addresses, dead ones cost nothing: each of many connections succeeds."""
    dead = rabbitmq.url.replace(str(rabbitmq._port()), str(find_free()))

    for _ in range(8):
        connection = await broker.connect(f"{dead},{rabbitmq.url},{dead}", "test")
        await connection.close()

    with pytest.raises(broker.UNAVAILABLE):
        await broker.connect(f"{dead},{dead}", "test")


@pytest.fixture
async def leaderless(tmp_path: Path) -> AsyncIterator[RabbitMQ]:
    """A broker that was killed while the command queue was being declared for the first time."""
    engine = RabbitMQ(tmp_path)
    await engine.start()
    try:
        connection = await broker.connect(engine.url, "test")
        # The queue the consumer will use, declared just now and not on disk yet.
        await broker._declare_main(await connection.channel(), REQUESTED_QUEUE)
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        await until(lambda: engine.pid is None)
        engine.spawn()
        await engine.wait_ready()
        if "undefined" != await engine.evaluate(f"ra_leaderboard:lookup_leader('%2F_{REQUESTED_QUEUE.name}')."):
            pytest.skip("this broker writes a new queue to disk at once")
        yield engine
    finally:
        engine.kill()


async def until(condition: Callable[[], bool], *, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def silent() -> bool:
    return bool(metrics.QUEUE_LEADERLESS.labels(REQUESTED_QUEUE.name)._value.get())


@pytest.mark.full_drill
async def test_a_queue_without_leader_is_reported_and_recovers(leaderless: RabbitMQ) -> None:
    """The queue is neither healthy nor deleted: the metric shows it, the consumer is not ready; an election heals it."""
    handled: list[Any] = []

    async def handle(window: Sequence[Delivery[Any]]) -> list[Verdict]:
        handled.extend(window)
        return [None] * len(window)

    runtime = Runtime(service="transaction", role="worker", instance="test")
    consumer = Consumer(
        url=leaderless.url,
        queue=REQUESTED_QUEUE,
        route=TRANSFERS_REQUESTED,
        decode=lambda item: item,
        handle=handle,
        runtime=runtime,
    )
    consuming = asyncio.create_task(consumer.run())
    publisher = Publisher(leaderless.url, "test")
    try:
        [unconfirmed] = await publisher.publish(PROBE)
        await until(silent)
        with pytest.raises(ConnectionError):
            await consumer.ping_queue()

        await leaderless.evaluate(ELECTION)
        await until(lambda: consumer._consuming and not silent())
        [confirmed] = await publisher.publish(PROBE)
        await consumer.ping_queue()
    finally:
        runtime.stopping.set()
        await publisher.close()
        await consuming

    assert unconfirmed is not None
    assert "timeout" == unconfirmed.reason
    assert confirmed is None


def test_the_runbook_has_the_command() -> None:
    """The runbook contains the command used here."""
    assert ELECTION in RUNBOOK.read_text()
