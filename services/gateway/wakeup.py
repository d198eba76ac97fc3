"""A wakeup in Redis: somebody says that there is something to look at. Whoever listens looks regularly anyway."""

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
    """Call `notify` with what was said whenever the channel notifies, until cancelled; with nothing when it was not listened.

    Redis may be away, and may say anything; nothing depends on it.
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
        # What rang before we listened was not heard.
        notify(b"")
        while True:
            message = await subscription.get_message(timeout=LISTEN_SECONDS)
            if message is not None:
                notify(message["data"])
