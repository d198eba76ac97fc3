"""Faults of the broker: purge messages, delete queues, block publishers, send old messages again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import aio_pika
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import AMQPError

from services.contracts import topology
from services.contracts.messages import encode_envelope
from services.contracts.topology import Queue, Route
from tests.harness.outbox_items import make_item

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.chaos.schedule import Round
    from tests.chaos.system import ProxiedSystem

SECONDS_MAX = 10.0
MESSAGES_MAX = 80
ITEMS_MAX = 8


async def purge(system: ProxiedSystem, _round: Round) -> None:
    """Purge all queues."""
    async with _channel(system) as channel:
        for queue in topology.QUEUES:
            for name in (queue.name, *(queue.delay(seconds) for seconds in topology.DELAY_SECONDS)):
                await (await channel.get_queue(name, ensure=False)).purge()


async def delete_queue(system: ProxiedSystem, round_: Round) -> None:
    """Delete a queue, with its consumers and messages."""
    queue = random.Random(round_.number).choice(topology.QUEUES)
    async with _channel(system) as channel:
        await channel.queue_delete(queue.name)


async def duplicate(system: ProxiedSystem, round_: Round) -> None:
    """Send recent and old commands and events again, up to three times, in random order and batches.

    They are made from the transfers, not taken from a queue bound for this purpose: such a queue would accept
    unroutable messages, and their publisher would never see them returned.
    """
    chance = random.Random(round_.number)
    for queue, route in _FLOWS:
        rows = await system.query("transaction", _FINALIZED, MESSAGES_MAX * ITEMS_MAX // 2)
        bodies = [item for row in rows for item in [make_item(route, row)] * chance.randint(0, 3)]
        chance.shuffle(bodies)
        async with _channel(system) as channel:
            for message in _bundled(bodies, chance)[:MESSAGES_MAX]:
                await _send(channel, queue, route, message)


async def block(system: ProxiedSystem, round_: Round) -> None:
    """Raise the disk alarm: publishers are blocked."""
    await system.rabbitmqctl("set_disk_free_limit", "1000000GB")
    try:
        await asyncio.sleep(round_.seconds)
    finally:
        while not await system.rabbitmqctl("set_disk_free_limit", "50MB"):
            await asyncio.sleep(1)


async def _send(channel: AbstractChannel, queue: Queue, route: Route, bodies: Sequence[str]) -> None:
    message = aio_pika.Message(encode_envelope(route, bodies, sent_at=datetime.now(UTC)), delivery_mode=2)
    await channel.default_exchange.publish(message, queue.name, timeout=SECONDS_MAX)


def _bundled(bodies: Sequence[str], chance: random.Random) -> list[list[str]]:
    """Group the bodies into messages of a few items each."""
    bundles, rest = [], list(bodies)
    while rest:
        size = chance.randint(1, ITEMS_MAX)
        bundles.append(rest[:size])
        del rest[:size]
    return bundles


@asynccontextmanager
async def _channel(system: ProxiedSystem) -> AsyncIterator[AbstractChannel]:
    """A channel that bypasses the proxies.

    Raises:
        ConnectionError: the broker is unavailable.
    """
    try:
        async with asyncio.timeout(SECONDS_MAX):
            connection = await aio_pika.connect(system.stack["rabbitmq"], timeout=3)
            async with connection:
                yield await connection.channel()
    except (AMQPError, RuntimeError) as error:
        raise ConnectionError(str(error)) from error


_FLOWS = (
    (topology.REQUESTED_QUEUE, topology.TRANSFERS_REQUESTED),
    (topology.FINALIZED_QUEUE, topology.TRANSFERS_FINALIZED),
)

_FINALIZED = "SELECT * FROM transfers WHERE status <> 'PENDING' ORDER BY random() LIMIT $1"
