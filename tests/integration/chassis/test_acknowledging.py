"""Which messages of a queue are acknowledged, and when: exactly those whose results are safe."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from deploy.local.engines import RabbitMQ
from services.chassis import broker, metrics
from services.chassis.broker import ATTEMPTS, REASON, OutgoingMessage, Publisher
from services.chassis.consumer import WINDOW_MESSAGES_MAX, Consumer, DeadLetter, Delivery, Handle, Retry, Verdict
from services.chassis.roles import Runtime
from services.contracts.messages import decode_envelope, encode_envelope
from services.contracts.refusal import Unavailable
from services.contracts.topology import REQUESTED_QUEUE, TRANSFERS_REQUESTED
from tests.harness.services import purge

Item = dict[str, Any]
Window = Sequence[Delivery[Item]]


class Queue:
    """The queue of commands on an empty broker."""

    def __init__(self, url: str, publisher: Publisher) -> None:
        self.url = url
        self.publisher = publisher

    async def send(self, *bundles: Sequence[int]) -> None:
        """One message for each bundle of numbers."""
        messages = [
            OutgoingMessage(
                TRANSFERS_REQUESTED.exchange,
                TRANSFERS_REQUESTED.type,
                encode_envelope(
                    TRANSFERS_REQUESTED, [f'{{"number":{number}}}' for number in bundle], sent_at=datetime.now(UTC)
                ),
            )
            for bundle in bundles
        ]
        assert not any(await self.publisher.publish(messages))

    async def ready(self, name: str = REQUESTED_QUEUE.name) -> int:
        return (await self.publisher.depths([name]))[name]

    async def until_ready(self, count: int, name: str = REQUESTED_QUEUE.name) -> None:
        async with asyncio.timeout(60):
            while await self.ready(name) != count:
                await asyncio.sleep(0.02)

    def consumer(self, handle: Handle[Item], **options: Any) -> Consumer[Item]:
        return Consumer(
            url=self.url,
            queue=REQUESTED_QUEUE,
            route=TRANSFERS_REQUESTED,
            decode=dict,
            handle=handle,
            runtime=Runtime(service="test", role="worker", instance="test"),
            **options,
        )

    @asynccontextmanager
    async def consuming(self, handle: Handle[Item], **options: Any) -> AsyncIterator[Consumer[Item]]:
        """A consumer that is stopped at the end."""
        consumer = self.consumer(handle, **options)
        task = asyncio.create_task(consumer.run())
        try:
            yield consumer
        finally:
            consumer._runtime.stopping.set()
            await task

    async def dead_letters(self, count: int) -> list[Any]:
        found: list[Any] = []
        async with await broker.connect(self.url, "test") as connection:
            queue = await (await connection.channel()).get_queue(REQUESTED_QUEUE.dead_letter)
            async with asyncio.timeout(60):
                while len(found) < count:
                    message = await queue.get(fail=False, no_ack=True)
                    if message is None:
                        await asyncio.sleep(0.02)
                    else:
                        found.append(message)
        return found


@pytest.fixture
async def queue(rabbitmq: RabbitMQ) -> AsyncIterator[Queue]:
    await purge(rabbitmq.url)
    publisher = Publisher(rabbitmq.url, "test")
    yield Queue(rabbitmq.url, publisher)
    await publisher.close()
    await purge(rabbitmq.url)


class Gate:
    """A handler that waits for permission, and what it has finished."""

    def __init__(self) -> None:
        self.windows: list[list[int]] = []
        self.deliveries: list[Delivery[Item]] = []
        self.in_hand: list[int] = []
        self.entered = asyncio.Event()
        self.may_go = asyncio.Event()

    async def handle(self, window: Window) -> list[Verdict]:
        self.in_hand = [delivery.item["number"] for delivery in window]
        self.entered.set()
        await self.may_go.wait()
        self.windows.append(self.in_hand)
        self.deliveries += window
        return [None] * len(window)

    async def until_done(self, count: int) -> None:
        async with asyncio.timeout(60):
            while sum(map(len, self.windows)) < count:
                await asyncio.sleep(0.01)


async def test_every_message_is_acknowledged_once(queue: Queue) -> None:
    """Forty messages in windows of several: each is handled once, and none is delivered again afterwards."""
    gate = Gate()
    await queue.send(*([number] for number in range(40)))
    async with queue.consuming(gate.handle):
        async with asyncio.timeout(60):
            await gate.entered.wait()
        gate.may_go.set()
        await gate.until_done(40)
    await queue.until_ready(0)

    assert dict.fromkeys(range(40), 1) == Counter(number for window in gate.windows for number in window)
    assert WINDOW_MESSAGES_MAX >= max(map(len, gate.windows)) > 1
    assert {(1, False)} == {(delivery.attempt, delivery.redelivered) for delivery in gate.deliveries}


async def test_an_unfinished_window_is_not_acknowledged(queue: Queue) -> None:
    """A consumer dies during its second window: exactly that window and the rest are delivered again."""
    gate = Gate()
    await queue.send(*([number] for number in range(20)))
    consumer = queue.consumer(gate.handle)
    doomed = asyncio.create_task(consumer.run())
    async with asyncio.timeout(60):
        await gate.entered.wait()
        gate.entered.clear()
        gate.may_go.set()
        await gate.entered.wait()
        gate.may_go.clear()
        while set(gate.in_hand) <= {number for window in gate.windows for number in window}:
            await asyncio.sleep(0.01)
    doomed.cancel()
    await asyncio.gather(doomed, return_exceptions=True)
    done = {number for window in gate.windows for number in window}

    again = Gate()
    again.may_go.set()
    await queue.until_ready(20 - len(done))
    async with queue.consuming(again.handle):
        await again.until_done(20 - len(done))
    await queue.until_ready(0)

    assert sorted(set(range(20)) - done) == sorted(number for window in again.windows for number in window)


async def test_messages_are_acknowledged_only_when_handled(queue: Queue) -> None:
    """The gauge is the number of unacknowledged messages; afterwards there are none."""
    unacknowledged = metrics.QUEUE_MESSAGES.labels(REQUESTED_QUEUE.name, "unacked")
    gate = Gate()
    await queue.send([1], [2], [3])
    async with queue.consuming(gate.handle):
        async with asyncio.timeout(60):
            await gate.entered.wait()
        meanwhile = unacknowledged._value.get()
        gate.may_go.set()
        await gate.until_done(3)
        async with asyncio.timeout(60):
            while unacknowledged._value.get():
                await asyncio.sleep(0.01)

    assert 1 <= meanwhile <= 3


async def test_a_stop_during_a_pause_returns_the_window_unchanged(queue: Queue) -> None:
    """A consumer that stops while a dependency is unavailable returns its window: no attempt counts, nothing is delayed."""
    paused = asyncio.Event()

    async def handle(_window: Window) -> list[Verdict]:
        paused.set()
        raise Unavailable

    names = [REQUESTED_QUEUE.name, REQUESTED_QUEUE.delay(1)]
    await queue.send([1, 2, 3])
    async with queue.consuming(handle), asyncio.timeout(60):
        await paused.wait()
    async with asyncio.timeout(60):
        while not any((depths := await queue.publisher.depths(names)).values()):
            await asyncio.sleep(0.02)

    assert dict(zip(names, (1, 0), strict=True)) == depths


async def test_an_item_has_a_limited_number_of_attempts(queue: Queue) -> None:
    """Of a bundle of three one item always fails: it alone is attempted three times, then it is a dead letter."""
    tried: list[tuple[int, int]] = []

    async def handle(window: Window) -> list[Verdict]:
        tried.extend((delivery.item["number"], delivery.attempt) for delivery in window)
        return [Retry("test") if delivery.item["number"] == 2 else None for delivery in window]

    await queue.send([1, 2, 3])
    async with queue.consuming(handle, attempts_max=3):
        [dead_letter] = await queue.dead_letters(1)
    await queue.until_ready(0)

    assert [(1, 1), (2, 1), (2, 2), (2, 3), (3, 1)] == sorted(tried)
    assert (3, "attempts_max: test") == (dead_letter.headers[ATTEMPTS], dead_letter.headers[REASON])
    assert [{"number": 2}] == list(decode_envelope(TRANSFERS_REQUESTED, dead_letter.body).items)


async def test_each_verdict_is_for_its_own_item(queue: Queue) -> None:
    """Of seven items five are finalized and two become dead letters, each with its reason and its own id."""

    async def handle(window: Window) -> list[Verdict]:
        return [
            DeadLetter(f"odd {delivery.item['number']}") if delivery.item["number"] in (3, 5) else None
            for delivery in window
        ]

    counted = metrics.DEAD_LETTERED.labels(REQUESTED_QUEUE.name, "odd 3")
    before = counted._value.get()
    await queue.send([1, 2, 3], [4], [5, 6, 7])
    async with queue.consuming(handle):
        dead_letters = await queue.dead_letters(2)
    await queue.until_ready(0)
    left = await queue.ready(REQUESTED_QUEUE.dead_letter)

    assert {(3, "odd 3", 1), (5, "odd 5", 1)} == {
        (*[item["number"] for item in decode_envelope(TRANSFERS_REQUESTED, one.body).items], one.headers[REASON],
         one.headers[ATTEMPTS]) for one in dead_letters
    }  # fmt: skip
    assert (0, 2, 1) == (left, len({one.message_id for one in dead_letters}), counted._value.get() - before)


async def test_a_queue_without_consumer_is_noticed(queue: Queue) -> None:
    """A consumer checks whether the broker still delivers to it: without a registered consumer it is an error."""
    gate = Gate()
    async with await broker.connect(queue.url, "test") as connection:
        with pytest.raises(ConnectionError):
            await queue.consumer(gate.handle)._probe(connection)
        async with queue.consuming(gate.handle) as consumer, asyncio.timeout(60):
            while not consumer._consuming:
                await asyncio.sleep(0.01)
            await consumer._probe(connection)
