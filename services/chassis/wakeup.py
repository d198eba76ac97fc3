"""Wake-ups through Redis: a hint that there is something new. Receivers also poll, so a wake-up may be lost."""

from __future__ import annotations

import asyncio

import redis.asyncio
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

REDIS_SECONDS = 0.05
DEFAULT_TEXT = "notify"

log = structlog.get_logger()


class Wakeup:
    """Notifies the receivers of one channel, if Redis is configured."""

    def __init__(self, url: str | None, channel: str) -> None:
        """Without `url` it does nothing. Retries of the driver are off: by default it retries for seconds."""
        self._channel = channel
        self._redis: redis.asyncio.Redis | None = None
        if url is not None:
            self._redis = redis.asyncio.Redis.from_url(
                url,
                socket_timeout=REDIS_SECONDS,
                socket_connect_timeout=REDIS_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )

    async def notify(self, text: str = DEFAULT_TEXT) -> None:
        """Notify once; never raises, never takes longer than 50 ms."""
        if self._redis is None:
            return
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                await self._redis.publish(self._channel, text)
        except (RedisError, OSError, RuntimeError) as error:
            log.info("wakeup_failed", channel=self._channel, error=type(error).__name__)

    async def close(self) -> None:
        """Close the connection."""
        if self._redis is not None:
            await self._redis.aclose()
