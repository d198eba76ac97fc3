"""The bell that tells gateways to look at the revocations now. They look every second anyway: it may fail."""

from __future__ import annotations

import asyncio

import redis.asyncio
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

CHANNEL = "payflow:revocations"
TEXT = "ring"
REDIS_SECONDS = 0.05

log = structlog.get_logger()


class Bell:
    """Rings through Redis, where there is one."""

    def __init__(self, url: str | None) -> None:
        self._redis: redis.asyncio.Redis | None = None
        if url is not None:
            self._redis = redis.asyncio.Redis.from_url(
                url,
                socket_timeout=REDIS_SECONDS,
                socket_connect_timeout=REDIS_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )

    async def ring(self) -> None:
        """Ring once; never raises, never takes longer than 50 ms."""
        if self._redis is None:
            return
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                await self._redis.publish(CHANNEL, TEXT)
        except (RedisError, OSError, RuntimeError) as error:
            log.info("revocation_bell_failed", error=type(error).__name__)

    async def close(self) -> None:
        """Close the connection."""
        if self._redis is not None:
            await self._redis.aclose()
