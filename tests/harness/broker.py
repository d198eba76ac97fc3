"""Faults of the broker for drills: messages lost or duplicated, queues and exchanges deleted, alarms."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import quote

import aio_pika
import aiohttp
from aio_pika.abc import AbstractChannel
from yarl import URL

from deploy.local.engine_sets import SingleEngines
from deploy.local.engines import RabbitMQ
from deploy.local.home import Home
from deploy.local.ports import Ports
from deploy.secrets.store import Secrets
from services.contracts import topology
from services.contracts.topology import Queue
from tests.harness.stack import Stack

WAITING = tuple(
    name for queue in topology.QUEUES for name in (queue.name, *(queue.delay(step) for step in topology.DELAY_SECONDS))
)
"""Every queue in which work waits; dead letters wait for an operator."""

ALARMS = {
    "disk": ('rabbit_disk_monitor:set_disk_free_limit("1000000GB")', 'rabbit_disk_monitor:set_disk_free_limit("50MB")'),
    "memory": (
        "vm_memory_monitor:set_vm_memory_high_watermark(0.000001)",
        'vm_memory_monitor:set_vm_memory_high_watermark({absolute, "1GB"})',
    ),
}


@asynccontextmanager
async def channel(stack: Stack) -> AsyncIterator[AbstractChannel]:
    """A separate channel."""
    async with await aio_pika.connect(stack["rabbitmq"]) as connection:
        yield await connection.channel()


async def purge(stack: Stack) -> int:
    """Purge all work queues; return the number of messages lost."""
    async with channel(stack) as opened:
        purged = [await (await opened.get_queue(name, ensure=False)).purge() for name in WAITING]
        return sum(response.message_count or 0 for response in purged)


async def delete_queue(stack: Stack, queue: Queue) -> None:
    """Delete a queue with its messages, even if it has consumers."""
    async with channel(stack) as opened:
        await opened.queue_delete(queue.name)


async def delete_exchange(stack: Stack, name: str) -> None:
    """Delete an exchange with its bindings."""
    async with channel(stack) as opened:
        await opened.exchange_delete(name)


async def unbind(stack: Stack, queue: Queue) -> None:
    """Remove the binding of a queue."""
    async with channel(stack) as opened:
        await (await opened.get_queue(queue.name, ensure=False)).unbind(queue.exchange, queue.routing_key)


async def duplicate_shuffled(stack: Stack, queue: Queue, *, copies: int, seed: int) -> int:
    """Replace each message of a queue by `copies` copies, in random order; return the number of messages taken."""
    async with channel(stack) as opened:
        source = await opened.get_queue(queue.name, ensure=False)
        taken = []
        while (message := await source.get(fail=False)) is not None:
            taken.append(message)
        again = [message for message in taken for _ in range(copies)]
        random.Random(seed).shuffle(again)
        for message in again:
            copy = aio_pika.Message(message.body, headers=message.headers, delivery_mode=2)
            await opened.default_exchange.publish(copy, queue.name)
        for message in taken:
            await message.ack()
        return len(taken)


async def raise_alarm(stack: Stack, kind: Literal["disk", "memory"], *, seconds: float) -> None:
    """Raise an alarm for this long: the broker blocks publishers meanwhile."""
    raised, ended = ALARMS[kind]
    await node_of(stack).evaluate(f"{raised}, spawn(fun() -> timer:sleep({seconds * 1000:.0f}), {ended} end).")


async def close_connection(stack: Stack, connection_name: str, *, seconds: float = 30) -> None:
    """Let the broker close a connection, as it does by itself after 20 to 30 s without heartbeats."""
    management = f"{stack['rabbitmq_management']}/api/connections"
    async with aiohttp.ClientSession() as session, asyncio.timeout(seconds):
        while True:
            async with session.get(management) as response:
                listed = await response.json()
            names = [
                c["name"] for c in listed if c.get("client_properties", {}).get("connection_name") == connection_name
            ]
            if names:
                break
            await asyncio.sleep(0.2)
        for name in names:
            async with session.delete(URL(f"{management}/{quote(name, safe='')}", encoded=True)):
                pass


def node_of(stack: Stack) -> RabbitMQ:
    """The broker of a running stack, for control commands; the stack starts and stops it."""
    home = Home(stack.home)
    return SingleEngines.of(home, Ports(home.ports), Secrets(home.secrets)).rabbitmq
