"""Consuming from a real broker: a message is acknowledged only when its result is safe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from aio_pika.abc import AbstractConnection

from deploy.local.engines import RabbitMQ
from services.chassis import broker, consumer
from services.chassis.broker import OutgoingMessage, Publisher
from services.chassis.consumer import Consumer, Delivery, Handle, Retry, Verdict
from services.chassis.roles import Runtime
from services.contracts.messages import encode_envelope
from services.contracts.topology import REQUESTED_QUEUE, TRANSFERS_REQUESTED
from tests.harness import job_metrics
from tests.harness.services import purge

Item = dict[str, Any]


@dataclass
class Consumers:
    """Consumers of the queue of commands, each in its own task, and a publisher."""

    url: str
    publisher: Publisher
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self, handle: Handle[Item]) -> asyncio.Task[None]:
        started: Consumer[Item] = Consumer(
            url=self.url,
            queue=REQUESTED_QUEUE,
            route=TRANSFERS_REQUESTED,
            decode=dict,
            handle=handle,
            runtime=Runtime(service="test", role="worker", instance=f"test-{len(self.tasks)}"),
        )
        self.tasks.append(asyncio.create_task(started.run()))
        return self.tasks[-1]

    async def send(self, *items: str) -> None:
        await self.send_body(encode_envelope(TRANSFERS_REQUESTED, items, sent_at=datetime.now(UTC)))

    async def send_body(self, body: bytes) -> None:
        outgoing = OutgoingMessage(TRANSFERS_REQUESTED.exchange, TRANSFERS_REQUESTED.type, body)
        assert [None] == await self.publisher.publish([outgoing])


@pytest.fixture
async def consumers(rabbitmq: RabbitMQ) -> AsyncIterator[Consumers]:
    await purge(rabbitmq.url)
    publisher = Publisher(rabbitmq.url, "test")
    made = Consumers(rabbitmq.url, publisher)
    yield made
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)
    await publisher.close()
    await purge(rabbitmq.url)


async def test_the_window_of_a_dead_worker_is_redelivered(consumers: Consumers) -> None:
    """Guarantee 31: if a worker dies before its commit, another one gets its messages again."""
    in_hand, finalized = asyncio.Event(), asyncio.Event()
    seen: list[Delivery[Item]] = []

    async def die(_window: Sequence[Delivery[Item]]) -> list[Verdict]:
        in_hand.set()
        await asyncio.Event().wait()
        return []

    async def finalize(window: Sequence[Delivery[Item]]) -> list[Verdict]:
        seen.extend(window)
        finalized.set()
        return [None] * len(window)

    doomed = consumers.start(die)
    await consumers.send('{"number":1}')
    async with asyncio.timeout(20):
        await in_hand.wait()
        doomed.cancel()
        await asyncio.gather(doomed, return_exceptions=True)
        consumers.start(finalize)
        await finalized.wait()

    assert [({"number": 1}, True)] == [(one.item, one.redelivered) for one in seen]


async def test_an_item_whose_delay_queue_is_gone_is_not_lost(consumers: Consumers) -> None:
    """A failed item is acknowledged only when its delayed copy is confirmed, so it is not lost without its delay queue."""
    done: dict[int, asyncio.Event] = {1: asyncio.Event(), 2: asyncio.Event()}

    async def fail_once(window: Sequence[Delivery[Item]]) -> list[Verdict]:
        for delivery in window:
            if delivery.attempt > 1:
                done[delivery.item["number"]].set()
        return [Retry("test") if delivery.attempt == 1 else None for delivery in window]

    consumers.start(fail_once)
    async with asyncio.timeout(30):
        # Once as it should be, so that the publisher has declared its queues and will not do so again by itself.
        await consumers.send('{"number":1}')
        await done[1].wait()
        async with await broker.connect(consumers.url, "test") as connection:
            channel = await connection.channel()
            await channel.queue_delete(REQUESTED_QUEUE.delay(1))
        await consumers.send('{"number":2}')
        await done[2].wait()


async def test_an_unreadable_body_becomes_a_dead_letter(consumers: Consumers) -> None:
    """Guarantee 37: a body that is not a message becomes a dead letter, unchanged."""

    async def finalize(window: Sequence[Delivery[Item]]) -> list[Verdict]:
        return [None] * len(window)

    consumers.start(finalize)
    await consumers.send_body(b"\xff no message")

    async with await broker.connect(consumers.url, "test") as connection:
        queue = await (await connection.channel()).get_queue(REQUESTED_QUEUE.dead_letter)
        async with asyncio.timeout(15):
            while (dead_letter := await queue.get(fail=False, no_ack=True)) is None:
                await asyncio.sleep(0.02)
    assert b"\xff no message" == dead_letter.body


async def succeeded() -> None:
    """Wait until the consumer has recorded a success."""
    async with asyncio.timeout(20):
        while not job_metrics.last_success("test-worker"):
            await asyncio.sleep(0.02)


async def test_an_idle_consumer_succeeds(consumers: Consumers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer without messages records its success as long as the broker would deliver to it."""

    async def finalize(window: Sequence[Delivery[Item]]) -> list[Verdict]:
        return [None] * len(window)

    monkeypatch.setattr(consumer, "WATCH_SECONDS", 1.0)
    job_metrics.forget("test-worker")
    consumers.start(finalize)

    await succeeded()


async def test_an_unfinished_window_is_no_success(consumers: Consumers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer whose handler does not return records no success, although its broker responds, until the window is done."""
    in_hand, may_end, probes = asyncio.Event(), asyncio.Event(), 0
    probe = Consumer._probe

    async def wait(window: Sequence[Delivery[Item]]) -> list[Verdict]:
        in_hand.set()
        await may_end.wait()
        return [None] * len(window)

    async def count(self: Consumer[Item], connection: AbstractConnection) -> None:
        nonlocal probes
        await probe(self, connection)
        probes += 1

    monkeypatch.setattr(Consumer, "_probe", count)
    consumers.start(wait)
    await consumers.send('{"number":1}')
    async with asyncio.timeout(20):
        await in_hand.wait()
        job_metrics.forget("test-worker")
        monkeypatch.setattr(consumer, "WATCH_SECONDS", 1.0)
        before = probes
        while probes < before + 2:
            await asyncio.sleep(0.02)
    assert not job_metrics.last_success("test-worker")

    may_end.set()
    await succeeded()
