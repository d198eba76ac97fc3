"""Publishing to a real broker: a message that it does not store is reported as not published."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aio_pika.abc import AbstractChannel, AbstractQueue, DeliveryMode

from deploy.local.engines import RabbitMQ
from services.chassis import broker
from services.chassis.broker import OutgoingMessage, Publisher
from services.contracts import topology


@pytest.fixture
async def publisher(rabbitmq: RabbitMQ) -> AsyncIterator[Publisher]:
    opened = Publisher(rabbitmq.url, "test")
    yield opened
    await opened.close()


@pytest.fixture
async def channel(rabbitmq: RabbitMQ) -> AsyncIterator[AbstractChannel]:
    async with await broker.connect(rabbitmq.url, "test") as connection:
        yield await connection.channel()


async def reasons(publisher: Publisher, *messages: OutgoingMessage) -> list[str | None]:
    """Publish together; for each message None, or the reason why it is not confirmed."""
    return [None if failed is None else failed.reason for failed in await publisher.publish(messages)]


def to(queue: AbstractQueue, body: bytes = b"{}") -> OutgoingMessage:
    return OutgoingMessage("", queue.name, body)


async def test_an_unroutable_message_is_not_published(publisher: Publisher, channel: AbstractChannel) -> None:
    """Guarantee 36: a message without a queue is reported as unroutable; the other one is published."""
    queue = await channel.declare_queue(exclusive=True)

    assert ["unroutable", None] == await reasons(
        publisher, OutgoingMessage(topology.COMMANDS, "without.queue", b"{}"), to(queue)
    )


async def test_a_refused_message_is_not_published(publisher: Publisher, channel: AbstractChannel) -> None:
    """Guarantee 36: a message that its queue refuses is reported as refused."""
    queue = await channel.declare_queue(
        exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
    )  # fmt: skip

    assert [[None], ["refused"], ["refused"]] == [await reasons(publisher, to(queue)) for _ in range(3)]


async def test_an_unavailable_broker_has_published_nothing() -> None:
    """Every message of a publish without a broker is reported as unavailable."""
    publisher = Publisher("amqp://unused:nothing@127.0.0.1:9/", "test")

    assert ["unavailable", "unavailable"] == await reasons(
        publisher, OutgoingMessage("", "a", b"{}"), OutgoingMessage("", "b", b"{}")
    )


async def test_messages_are_persistent(publisher: Publisher, channel: AbstractChannel) -> None:
    """Messages are persistent: even a classic queue writes them to disk."""
    queue = await channel.declare_queue(exclusive=True)

    assert [None] == await reasons(publisher, to(queue, b"kept"))

    async with asyncio.timeout(30):
        while (message := await queue.get(fail=False)) is None:
            await asyncio.sleep(0.01)
    assert (b"kept", DeliveryMode.PERSISTENT) == (message.body, message.delivery_mode)


async def test_the_properties_of_a_message_arrive(publisher: Publisher, channel: AbstractChannel) -> None:
    """Headers, message id, content type and expiration are those of the publish."""
    queue = await channel.declare_queue(exclusive=True)
    headers = {broker.ATTEMPTS: 3, broker.REASON: "test"}

    assert [None] == await reasons(
        publisher, OutgoingMessage("", queue.name, b"{}", headers, expires_after_seconds=1234.5, message_id="the-id-1")
    )

    async with asyncio.timeout(30):
        while (message := await queue.get(fail=False)) is None:
            await asyncio.sleep(0.01)
    assert (headers, "the-id-1", "application/json", 1234.5) == (
        dict(message.headers), message.message_id, message.content_type, message.expiration,
    )  # fmt: skip
