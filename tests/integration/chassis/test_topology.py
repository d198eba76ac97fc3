"""The queues of the broker have the limits of the topology."""

from __future__ import annotations

import json
import urllib.request
from base64 import b64encode
from typing import Any
from urllib.parse import quote, urlsplit

import aio_pika
import pytest

from deploy.local.engines import RabbitMQ
from services.chassis import broker
from services.chassis.broker import OutgoingMessage, Publisher
from services.contracts import topology
from services.contracts.topology import Queue
from tests.harness.services import purge


def ask(rabbitmq: RabbitMQ, path: str) -> Any:
    """A response of the management API."""
    parts = urlsplit(rabbitmq.management_url)
    login = b64encode(f"{parts.username}:{parts.password}".encode()).decode()
    request = urllib.request.Request(
        f"http://{parts.hostname}:{parts.port}/api{path}", headers={"Authorization": f"Basic {login}"}
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)


def arguments(rabbitmq: RabbitMQ, name: str) -> tuple[bool, dict[str, Any]]:
    queue = ask(rabbitmq, f"/queues/%2F/{quote(name)}")
    return queue["durable"], queue["arguments"]


def returning_to(name: str) -> dict[str, Any]:
    return {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": name,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


@pytest.mark.parametrize("queue", topology.QUEUES, ids=lambda queue: queue.name)
async def test_queues_have_their_limits(rabbitmq: RabbitMQ, queue: Queue) -> None:
    """Twenty deliveries, then the dead letters; each delay returns to its queue after exactly its seconds; all on disk."""
    await purge(rabbitmq.url)

    assert (True, returning_to(queue.dead_letter) | {"x-delivery-limit": 20}) == arguments(rabbitmq, queue.name)
    assert (True, {"x-queue-type": "quorum"}) == arguments(rabbitmq, queue.dead_letter)
    assert {
        seconds: (True, returning_to(queue.name) | {"x-message-ttl": seconds * 1000})
        for seconds in (1, 2, 4, 8, 16, 30)
    } == {seconds: arguments(rabbitmq, queue.delay(seconds)) for seconds in topology.DELAY_SECONDS}


async def test_retired_queues_are_deleted(rabbitmq: RabbitMQ) -> None:
    """Queues of an earlier version are deleted with their messages and bindings, once or again; the others keep theirs."""
    await purge(rabbitmq.url)
    connection = await broker.connect(rabbitmq.url, "test")
    async with connection:
        channel = await connection.channel()
        await broker.declare(channel)
        exchange = await channel.get_exchange(topology.EVENTS)
        for queue in topology.RETIRED_QUEUES:
            await broker._declare_queue(channel, queue)
            await exchange.publish(aio_pika.Message(b"old"), queue.routing_key)
        await exchange.publish(aio_pika.Message(b"new"), topology.FINALIZED_QUEUE.routing_key)
        retired = {name for queue in topology.RETIRED_QUEUES for name in queue.names}
        assert retired <= {one["name"] for one in ask(rabbitmq, "/queues/%2F")}

        await broker.delete_retired_queues(rabbitmq.url, "test")
        await broker.delete_retired_queues(rabbitmq.url, "test")

        names = {one["name"] for one in ask(rabbitmq, "/queues/%2F")}
        assert not retired & names
        assert {name for queue in topology.QUEUES for name in queue.names} <= names
        kept = await channel.declare_queue(topology.FINALIZED_QUEUE.name, passive=True)
        assert kept.declaration_result.message_count == 1
    await purge(rabbitmq.url)


async def test_each_queue_is_bound_to_its_own_messages(rabbitmq: RabbitMQ) -> None:
    """Commands through the direct exchange, events through the topic exchange, and each kind to one queue of ours."""
    connection = await broker.connect(rabbitmq.url, "test")
    async with connection:
        await broker.declare(await connection.channel())

    kinds = {one["name"]: (one["type"], one["durable"]) for one in ask(rabbitmq, "/exchanges/%2F")}
    bindings = [
        (one["source"], one["routing_key"], one["destination"])
        for one in ask(rabbitmq, "/bindings/%2F")
        if one["source"]
    ]

    assert (("direct", True), ("topic", True)) == (kinds[topology.COMMANDS], kinds[topology.EVENTS])
    assert [
        (topology.COMMANDS, "transfers.requested", "transfers.requested"),
        (topology.EVENTS, "transfers.finalized", "notifications.transfers-finalized"),
    ] == sorted(bindings)


async def test_a_retired_queue_that_does_not_respond_delays_no_publish(rabbitmq: RabbitMQ) -> None:
    """The broker deletes such a queue late or not at all; publishes of commands do not wait for that."""
    await purge(rabbitmq.url)
    [queue] = topology.RETIRED_QUEUES
    servers = [f'whereis(list_to_atom("%2F_{name}"))' for name in (queue.name, queue.dead_letter)]
    connection = await broker.connect(rabbitmq.url, "test")
    publisher = Publisher(rabbitmq.url, "test")
    async with connection:
        await broker._declare_queue(await connection.channel(), queue)
        try:
            for server in servers:
                await rabbitmq.evaluate(f"sys:suspend({server}).")
            [failed] = await publisher.publish(
                [OutgoingMessage(topology.COMMANDS, topology.TRANSFERS_REQUESTED.type, b"{}")]
            )
        finally:
            for server in servers:
                await rabbitmq.evaluate(f"case {server} of undefined -> ok; Pid -> sys:resume(Pid) end.")
            await publisher.close()
    assert failed is None

    await broker.delete_retired_queues(rabbitmq.url, "test")
    await purge(rabbitmq.url)
