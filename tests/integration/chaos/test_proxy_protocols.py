"""The protocols used through the fault proxy: PostgreSQL, Redis, AMQP and HTTP."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import aio_pika
import aiohttp
import asyncpg
import pytest
import redis.asyncio as redis_client
from aiohttp import web

from deploy.local.engines import Postgres, RabbitMQ, Redis
from tests.chaos.proxy import LOOPBACK, Edge


async def _before(url: str) -> tuple[Edge, str]:
    """An edge in front of the engine at this URL, and the URL through the edge."""
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port
    assert host is not None
    assert port is not None
    edge = Edge("test>engine", lambda: (host, port))
    await edge.start()
    return edge, url.replace(f"{host}:{port}", f"{LOOPBACK}:{edge.port}")


async def _through(edge: Edge, use: Callable[[], Awaitable[object]], failures: tuple[type[Exception], ...]) -> object:
    """Use it, break it during use, and use it again after healing."""
    await use()
    edge.cut()
    with pytest.raises(failures):
        await use()
    edge.heal()
    return await use()


async def test_postgresql_through_an_edge(postgres: Postgres) -> None:
    """A driver connects, reads a large result, is cut, and connects again."""
    edge, url = await _before(postgres.dsn("postgres"))
    pool = await asyncpg.create_pool(url, min_size=0, max_size=2, timeout=5)

    async def use() -> object:
        return await pool.fetchval("SELECT length(string_agg(n::text, '')) FROM generate_series(1, 100000) AS n")

    assert 488895 == await _through(edge, use, (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError))
    pool.terminate()
    await edge.close()


async def test_redis_through_an_edge(redis: Redis) -> None:
    """A client stores a megabyte, is cut, and reads it back."""
    edge, url = await _before(redis.url)
    client = redis_client.from_url(url, socket_timeout=5)
    value = os.urandom(1_000_000)
    await client.set("payflow:test:proxy", value, ex=60)

    async def use() -> object:
        return await client.get("payflow:test:proxy")

    assert value == await _through(edge, use, (redis_client.RedisError, OSError))
    await client.aclose()
    await edge.close()


async def test_amqp_through_an_edge(rabbitmq: RabbitMQ) -> None:
    """A client publishes a large message with a confirm, is cut, connects again, and gets it back."""
    edge, url = await _before(rabbitmq.url)
    body = os.urandom(500_000)

    async def use() -> object:
        async with await aio_pika.connect(url, timeout=10) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue(exclusive=True)
            await channel.default_exchange.publish(aio_pika.Message(body), queue.name, timeout=10)
            message = await queue.get(timeout=10)
            return message.body

    assert body == await _through(edge, use, (OSError, aio_pika.exceptions.AMQPError))
    await edge.close()


async def test_http_through_an_edge() -> None:
    """The server has processed a request whose response is dropped; the client gets a reset, not a response."""
    done = 0

    async def pay(_request: web.Request) -> web.Response:
        nonlocal done
        done += 1
        return web.json_response({"done": done})

    app = web.Application()
    app.router.add_post("/pay", pay)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    edge, url = await _before(f"http://{LOOPBACK}:{runner.addresses[0][1]}/pay")
    async with aiohttp.ClientSession() as session:
        async with session.post(url, data=bytes(500_000)) as response:
            assert {"done": 1} == await response.json()
        edge.drop_responses()

        with pytest.raises(aiohttp.ClientError):
            await session.post(url, data=bytes(500_000))

        assert 2 == done
        edge.heal()
        async with session.post(url) as response:
            assert {"done": 3} == await response.json()
    await edge.close()
    await runner.cleanup()
