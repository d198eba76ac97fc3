"""Redis as a cache: one round trip for all commands of the same loop iteration, a deadline of 50 ms, and a circuit breaker.

Nothing depends on it: a caller that gets `CacheUnavailable` continues without.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import redis.asyncio
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.exceptions import RedisError

from services.chassis.batching import Batcher

RESPONSE_SECONDS = 0.05
"""The deadline of a round trip."""

BATCH_MAX = 512
CONCURRENCY_MAX = 2
CONNECTIONS_MAX = 8

FAILURES_MAX = 3
"""So many consecutive failures open the circuit: requests no longer wait for Redis."""

PROBE_EVERY_SECONDS = 1.0
"""How often Redis is probed while the circuit is open."""

Command = Sequence[str | bytes | int]

UNAVAILABLE = (RedisError, OSError, TimeoutError, RuntimeError)
"""Errors of an unavailable Redis. RuntimeError: the event loop's, when a connection closes while it is being written to."""

log = structlog.get_logger()


class CacheUnavailable(Exception):  # noqa: N818 - reads as what it is
    """Redis did not respond in time, or not with a valid response."""


class _Connection(redis.asyncio.Connection):
    """A connection that packs commands in C, as those of the library that block do."""

    pack_command = staticmethod(HiredisRespSerializer().pack)  # type: ignore[assignment]


class Cache:
    """A client that fails fast and, while its circuit is open, at once."""

    def __init__(self, url: str) -> None:
        # One timeout covers each whole round trip below; a socket timeout would start another for every reply.
        self._redis = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=None,
            socket_connect_timeout=RESPONSE_SECONDS,
            max_connections=CONNECTIONS_MAX,
            retry=Retry(NoBackoff(), 0),
            connection_class=_Connection,
        )
        self._batcher: Batcher[Sequence[Command], list[Any]] = Batcher(
            "cache", self._flush, size_max=BATCH_MAX, concurrency_max=CONCURRENCY_MAX, concerns_all=lambda _error: True
        )
        self._failures = 0
        self._probe_at = 0.0
        self._probe: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the circuit is open: Redis failed repeatedly, and requests do not wait for it."""
        return self._failures >= FAILURES_MAX

    async def run(self, *commands: Command) -> list[Any]:
        """The replies to these commands, in order.

        Raises:
            CacheUnavailable: Redis did not respond, or rejected one of them.
        """
        if self.is_open:
            self._start_probe()
            raise CacheUnavailable
        replies = await self._batcher.submit(commands)
        if any(isinstance(reply, RedisError) for reply in replies):
            raise CacheUnavailable
        return replies

    async def close(self) -> None:
        """Close the connections."""
        if self._probe is not None:
            self._probe.cancel()
        await self._redis.aclose()

    async def _flush(self, batch: Sequence[Sequence[Command]]) -> list[list[Any]]:
        if self.is_open:
            raise CacheUnavailable
        try:
            async with asyncio.timeout(RESPONSE_SECONDS):
                pipeline = self._redis.pipeline(transaction=False)
                for commands in batch:
                    for command in commands:
                        pipeline.execute_command(*command)
                replies = await pipeline.execute(raise_on_error=False)
        except UNAVAILABLE as error:
            self._count_failure(error)
            raise CacheUnavailable from None
        self._failures = 0
        rest = iter(replies)
        return [[next(rest) for _ in commands] for commands in batch]

    def _count_failure(self, error: Exception) -> None:
        self._failures += 1
        self._probe_at = time.monotonic() + PROBE_EVERY_SECONDS
        if self._failures == FAILURES_MAX:
            log.warning("cache_circuit_opened", error=type(error).__name__)

    def _start_probe(self) -> None:
        # In the background: no request pays for finding out that Redis is still unavailable.
        if time.monotonic() >= self._probe_at and (self._probe is None or self._probe.done()):
            self._probe_at = time.monotonic() + PROBE_EVERY_SECONDS
            self._probe = asyncio.create_task(self._try())

    async def _try(self) -> None:
        try:
            async with asyncio.timeout(RESPONSE_SECONDS):
                await self._redis.ping()
        except UNAVAILABLE:
            return
        self._failures = 0
        log.info("cache_circuit_closed")
