"""Wake-ups published in Redis: hints that there may be something new. Every listener polls regularly as well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

REVOCATIONS = "payflow:revocations"
EVENTS = "payflow:events"

CONNECT_SECONDS = 1.0
LISTEN_SECONDS = 5.0
RETRY_SECONDS = 1.0


async def listen(url: str, channel: str, notify: Callable[[bytes], None]) -> None:
    """Call `notify` with each message of the channel, and with an empty one after each reconnection, until cancelled.

    Redis may be unavailable, and messages may be anything; nothing depends on them.
    """
    while True:
        client = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=LISTEN_SECONDS + CONNECT_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            await _listen(client, channel, notify)
        except (RedisError, OSError, RuntimeError):
            await asyncio.sleep(RETRY_SECONDS)
        finally:
            await client.aclose()


async def _listen(client: redis.asyncio.Redis, channel: str, notify: Callable[[bytes], None]) -> None:
    async with client.pubsub(ignore_subscribe_messages=True) as subscription:
        await subscription.subscribe(channel)
        # Messages published before the subscription were missed.
        notify(b"")
        while True:
            message = await subscription.get_message(timeout=LISTEN_SECONDS)
            if message is not None:
                notify(message["data"])
