"""Publishing on the real broker: what it does not keep is known not to be published."""

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
    """Publish together; for each None, or why it is not known to be safe."""
    return [None if failed is None else failed.reason for failed in await publisher.publish(messages)]


def to(queue: AbstractQueue, body: bytes = b"{}") -> OutgoingMessage:
    return OutgoingMessage("", queue.name, body)


async def test_what_no_queue_takes_is_not_published(publisher: Publisher, channel: AbstractChannel) -> None:
    """Guarantee 36: a message that no queue listens for is known not to be safe; its neighbour is published."""
    queue = await channel.declare_queue(exclusive=True)

    assert ["unroutable", None] == await reasons(
        publisher, OutgoingMessage(topology.COMMANDS, "nobody.listens", b"{}"), to(queue)
    )


async def test_what_a_full_queue_refuses_is_not_published(publisher: Publisher, channel: AbstractChannel) -> None:
    """Guarantee 36: a message that its queue refuses is known not to be safe."""
    queue = await channel.declare_queue(
        exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
    )  # fmt: skip

    assert [[None], ["refused"], ["refused"]] == [await reasons(publisher, to(queue)) for _ in range(3)]


async def test_a_broker_that_is_away_has_published_nothing() -> None:
    """Every message of a publish that reaches no broker is known not to be safe."""
    nobody = Publisher("amqp://nobody:nothing@127.0.0.1:9/", "test")

    assert ["unavailable", "unavailable"] == await reasons(
        nobody, OutgoingMessage("", "a", b"{}"), OutgoingMessage("", "b", b"{}")
    )


async def test_a_message_is_marked_to_be_kept(publisher: Publisher, channel: AbstractChannel) -> None:
    """Messages are persistent: also a queue that does not keep everything by itself writes them to disk."""
    queue = await channel.declare_queue(exclusive=True)

    assert [None] == await reasons(publisher, to(queue, b"kept"))

    async with asyncio.timeout(30):
        while (message := await queue.get(fail=False)) is None:
            await asyncio.sleep(0.01)
    assert (b"kept", DeliveryMode.PERSISTENT) == (message.body, message.delivery_mode)


async def test_all_that_goes_with_a_message_arrives(publisher: Publisher, channel: AbstractChannel) -> None:
    """Headers, message id, content type and how long it may wait are those it was published with."""
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
