"""What can be done to the broker: messages purged, queues deleted, publishers blocked, old messages sent again."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aio_pika
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import AMQPError

from services.contracts import topology

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.chaos.schedule import Round
    from tests.chaos.system import System

COPIES = "chaos.copies"
COPIES_MAX = 400
"""So many of the latest messages are kept, to be sent again at the wrong time."""

SECONDS_MAX = 10.0
AGAIN_MAX = 60


async def keep_copies(system: System) -> None:
    """Listen in: a queue that gets a copy of every command and every event."""
    async with _channel(system) as channel:
        arguments = {"x-max-length": COPIES_MAX, "x-overflow": "drop-head"}
        queue = await channel.declare_queue(COPIES, durable=True, arguments=arguments)
        await queue.bind(topology.COMMANDS, topology.TRANSFERS_REQUESTED.type)
        await queue.bind(topology.EVENTS, topology.TRANSFERS_SETTLED.type)


async def purge(system: System, _turn: Round) -> None:
    """Every message that waits is gone."""
    async with _channel(system) as channel:
        for queue in topology.QUEUES:
            for name in (queue.name, *(queue.delay(seconds) for seconds in topology.DELAY_SECONDS)):
                await (await channel.get_queue(name, ensure=False)).purge()


async def delete_queue(system: System, turn: Round) -> None:
    """A queue is gone, with its consumers and everything in it."""
    queue = random.Random(turn.number).choice(topology.QUEUES)
    async with _channel(system) as channel:
        await channel.queue_delete(queue.name)


async def duplicate(system: System, turn: Round) -> None:
    """Messages of now and of long ago arrive once more, up to three times, in any order."""
    chance = random.Random(turn.number)
    async with _channel(system) as channel:
        copies = await channel.get_queue(COPIES, ensure=False)
        kept = [message async for message in _all(copies)]
        again = [message for message in kept for _ in range(chance.randint(0, 3))]
        chance.shuffle(again)
        for message in again[:AGAIN_MAX]:
            await channel.default_exchange.publish(
                aio_pika.Message(message.body, delivery_mode=2, headers=message.headers), _queue_of(message)
            )
        # Given back, most of them: what is sent again next time may be old.
        for message in kept:
            await (message.reject(requeue=True) if chance.random() < 0.8 else message.ack())


async def block(system: System, turn: Round) -> None:
    """The broker believes that its disk is full: who publishes is blocked."""
    await system.rabbitmqctl("set_disk_free_limit", "1000000GB")
    try:
        await asyncio.sleep(turn.seconds)
    finally:
        while not await system.rabbitmqctl("set_disk_free_limit", "50MB"):
            await asyncio.sleep(1)


def _queue_of(message: aio_pika.abc.AbstractIncomingMessage) -> str:
    if message.routing_key == topology.TRANSFERS_SETTLED.type:
        return topology.SETTLED_QUEUE.name
    return topology.REQUESTED_QUEUE.name


async def _all(queue: aio_pika.abc.AbstractQueue) -> AsyncIterator[aio_pika.abc.AbstractIncomingMessage]:
    while (message := await queue.get(fail=False)) is not None:
        yield message


@asynccontextmanager
async def _channel(system: System) -> AsyncIterator[AbstractChannel]:
    """A channel past the proxies.

    Raises:
        ConnectionError: the broker is away or gives no answer.
    """
    try:
        async with asyncio.timeout(SECONDS_MAX):
            connection = await aio_pika.connect(system.stack["rabbitmq"], timeout=3)
            async with connection:
                yield await connection.channel()
    except (AMQPError, RuntimeError) as error:
        raise ConnectionError(str(error)) from error
