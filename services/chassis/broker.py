"""RabbitMQ: connections, the declaration of the topology, and publishing (persistent, mandatory, confirmed)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractQueue, DeliveryMode, ExchangeType
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError, DeliveryError, PublishError

from services.chassis import crash_points
from services.chassis.leaderless import LeaderlessQueues
from services.chassis.settings import split_addresses
from services.contracts import topology
from services.contracts.topology import Queue

CONNECT_SECONDS = 5.0
OPEN_SECONDS = 10.0
DELETE_SECONDS = 60.0
"""For connecting and declaring everything."""

CONFIRM_SECONDS = 3.0
BLOCKED_SECONDS = 0.1
"""How long to wait for the broker to accept messages again, after it has not confirmed one."""

HEARTBEAT_SECONDS = 10

ATTEMPTS = "x-payflow-attempts"
"""Header: how often this item has failed. The broker's own count also increases when another item of its window fails."""

REASON = "x-payflow-reason"
"""Header of a dead letter: the reason."""

UNAVAILABLE = (AMQPError, ChannelInvalidStateError, StopAsyncIteration, OSError, TimeoutError, RuntimeError)
"""Errors that mean that the broker is unavailable. StopAsyncIteration: it closed the connection during the login."""

_QUEUE_OF = {(queue.exchange, queue.routing_key): queue.name for queue in topology.QUEUES}


class PublishFailed(Exception):  # noqa: N818 - reads as what it is
    """A publish without a confirm; `reason` is one of unroutable, refused, blocked, timeout, unavailable.

    `blocked`: the broker has an alarm and accepts no message. `timeout`: it has no alarm and did not confirm.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def connect(url: str, name: str) -> AbstractConnection:
    """Connect without automatic reconnection: the user of the connection decides what to do when it is lost.

    `url` may name several nodes of a cluster. They are tried in random order, so that clients spread over the nodes
    and no client retries a single node that is down, frozen or cut off.

    Raises:
        one of `UNAVAILABLE`
    """
    *others, last = random.sample(addresses := split_addresses(url), len(addresses))
    for address in others:
        try:
            return await _connect_to(address, name)
        except UNAVAILABLE:
            continue
    return await _connect_to(last, name)


async def _connect_to(address: str, name: str) -> AbstractConnection:
    return await aio_pika.connect(
        address,
        timeout=CONNECT_SECONDS,
        heartbeat=HEARTBEAT_SECONDS,
        client_properties={"connection_name": name},
    )


async def declare(channel: AbstractChannel) -> None:
    """Declare all exchanges and queues. Idempotent; every role does it before it works."""
    await channel.declare_exchange(topology.COMMANDS, ExchangeType.DIRECT, durable=True)
    await channel.declare_exchange(topology.EVENTS, ExchangeType.TOPIC, durable=True)
    for queue in topology.QUEUES:
        await _declare_queue(channel, queue)


async def delete_retired_queues(url: str, name: str) -> None:
    """Delete the queues of earlier versions, on a connection of its own.

    Nothing may wait for it: a queue without a leader responds late, and a refusal of the broker closes the connection. An absent
    queue is no error. The messages can be lost, as `RETIRED_QUEUES` requires.

    Raises:
        one of `UNAVAILABLE`
    """
    connection = await connect(url, name)
    try:
        async with asyncio.timeout(DELETE_SECONDS):
            channel = await connection.channel()
            for queue in topology.RETIRED_QUEUES:
                for queue_name in queue.names:
                    await channel.queue_delete(queue_name)
    finally:
        try:
            async with asyncio.timeout(1):
                await connection.close()
        except UNAVAILABLE:
            pass


async def _declare_queue(channel: AbstractChannel, queue: Queue) -> None:
    await channel.declare_queue(queue.dead_letter, durable=True, arguments={"x-queue-type": "quorum"})
    declared = await _declare_main(channel, queue)
    await declared.bind(queue.exchange, routing_key=queue.routing_key)
    for seconds in topology.DELAY_SECONDS:
        await channel.declare_queue(
            queue.delay(seconds),
            durable=True,
            arguments=_dead_lettering_to(queue.name) | {"x-message-ttl": seconds * 1000},
        )


async def _declare_main(channel: AbstractChannel, queue: Queue) -> AbstractQueue:
    arguments = _dead_lettering_to(queue.dead_letter) | {"x-delivery-limit": topology.DELIVERY_LIMIT}
    return await channel.declare_queue(queue.name, durable=True, arguments=arguments)


def _dead_lettering_to(queue_name: str) -> dict[str, Any]:
    """Arguments of a quorum queue that moves its refused and expired messages to another queue, with confirms."""
    return {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue_name,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """One message to publish."""

    exchange: str
    routing_key: str
    body: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)
    expires_after_seconds: float | None = None
    message_id: str | None = None


class Publisher:
    """A separate connection for publishing: a broker alarm blocks publishers and must not stop the consumers."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = f"{name} publisher"
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._opening = asyncio.Lock()
        self._leaderless = LeaderlessQueues()

    async def publish(self, messages: Sequence[OutgoingMessage]) -> list[PublishFailed | None]:
        """Publish all messages and wait for every confirm; for each message None, or the reason why it is not confirmed."""
        try:
            channel = await self._open()
        except UNAVAILABLE:
            return [PublishFailed("unavailable") for _ in messages]
        results = await asyncio.gather(*(self._publish_one(channel, message) for message in messages))
        if any(_timed_out(failed) for failed in results) and await self._is_blocked():
            results = [PublishFailed("blocked") if _timed_out(failed) else failed for failed in results]
        self._record(messages, results)
        # A new connection declares the topology again, so that a deleted queue exists for the next attempt. And after the
        # leader of a queue was killed, a new channel often works while an old one is still refused.
        if any(failed is not None for failed in results):
            await self.close()
        return results

    async def ping(self) -> None:
        """Raise when the broker cannot be reached; for `/readyz`."""
        channel = await self._open()
        await channel.get_exchange(topology.COMMANDS)

    async def depths(self, queue_names: Sequence[str]) -> dict[str, int]:
        """Count the ready messages of each queue.

        Raises:
            one of `UNAVAILABLE`
        """
        await self._open()
        assert self._connection is not None, "just opened"
        async with asyncio.timeout(CONFIRM_SECONDS):
            probe = await self._connection.channel(publisher_confirms=False)
            try:
                declared = [await probe.declare_queue(name, passive=True) for name in queue_names]
            finally:
                await probe.close()
        return {queue.name: queue.declaration_result.message_count or 0 for queue in declared}

    async def close(self) -> None:
        """Drop the connection; the next publish opens a new one."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            try:
                async with asyncio.timeout(1):
                    await connection.close()
            except UNAVAILABLE:
                pass

    async def _open(self) -> AbstractChannel:
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                await self.close()
                # A frozen node accepts the login and then does not respond: give up rather than block all publishes.
                async with asyncio.timeout(OPEN_SECONDS):
                    self._connection = await connect(self._url, self._name)
                    channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
                    await declare(channel)
                self._channel = channel
            return self._channel

    async def _is_blocked(self) -> bool:
        """Whether the broker has blocked this connection because it is short of disk or memory."""
        transport = None if self._connection is None else self._connection.transport
        if transport is None:
            return False
        try:
            async with asyncio.timeout(BLOCKED_SECONDS):
                await transport.ready()
        except TimeoutError:
            return True
        return False

    def _record(self, messages: Sequence[OutgoingMessage], results: Sequence[PublishFailed | None]) -> None:
        """Record which queues responded. A queue that does not, while the broker does, has no leader."""
        for message, failed in zip(messages, results, strict=True):
            queue_name = _QUEUE_OF.get((message.exchange, message.routing_key), message.routing_key)
            if failed is None:
                self._leaderless.record_response(queue_name)
            elif _timed_out(failed):
                self._leaderless.record_timeout(queue_name)

    async def _publish_one(self, channel: AbstractChannel, outgoing: OutgoingMessage) -> PublishFailed | None:
        message = aio_pika.Message(
            outgoing.body,
            content_type="application/json",
            delivery_mode=DeliveryMode.PERSISTENT,
            headers=dict(outgoing.headers),
            expiration=outgoing.expires_after_seconds,
            message_id=outgoing.message_id,
        )
        try:
            exchange = await channel.get_exchange(outgoing.exchange, ensure=False)
            crash_points.pass_by("before-publish", outgoing.routing_key)
            crash_points.pass_by_soon("after-publish", outgoing.routing_key)
            await exchange.publish(message, outgoing.routing_key, mandatory=True, timeout=CONFIRM_SECONDS)
            crash_points.pass_by("after-confirm", outgoing.routing_key)
        except PublishError:
            return PublishFailed("unroutable")
        except DeliveryError:
            return PublishFailed("refused")
        except TimeoutError:
            return PublishFailed("timeout")
        except UNAVAILABLE:
            return PublishFailed("unavailable")
        return None


def _timed_out(failed: PublishFailed | None) -> bool:
    return failed is not None and failed.reason == "timeout"
