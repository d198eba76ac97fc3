"""The keeper: takes dead letters out of the broker into the database, and says how many wait for a human."""

from __future__ import annotations

import asyncio

import structlog
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from prometheus_client import Gauge

from services.chassis import backoff, dead_letters
from services.chassis.consumer import Windows
from services.chassis.database import LockTimeout, Pool
from services.chassis.roles import Runtime
from services.contracts.refusal import Unavailable
from services.contracts.topology import Queue

MEASURE_SECONDS = 1.0

# Here and not in metrics.py: every process exports what it has imported, and only those that keep them measure these.
DEAD_LETTERS = Gauge("payflow_dead_letters", "Dead letters that wait for a human.", ["queue"])

log = structlog.get_logger()


class Keeper(Windows):
    """Keeps the dead letters of one queue: committed first, acknowledged then. Several may run."""

    def __init__(self, pool: Pool, *, url: str, queue: Queue, runtime: Runtime) -> None:
        super().__init__(url=url, queue_name=queue.dead_letter, runtime=runtime)
        self._pool = pool
        self._queue = queue

    async def measure(self) -> None:
        """Keep the gauge true: what is on record and waits, and what has arrived and is not on record yet."""
        while True:
            try:
                waiting = await dead_letters.count(self._pool, self._queue)
                DEAD_LETTERS.labels(self._queue.name).set(waiting + self._arrived.qsize())
            except (Unavailable, LockTimeout):
                log.debug("measurement_missed")
            await asyncio.sleep(MEASURE_SECONDS)

    async def _finalize(
        self, channel: AbstractChannel, watch: asyncio.Task[None], window: list[AbstractIncomingMessage]
    ) -> None:
        letters = [
            dead_letters.read(self._queue, message.body, message.headers, message.message_id) for message in window
        ]
        tries = 0
        while not await self._keep(letters):
            tries += 1
            await self._pause(channel, watch, backoff.seconds(tries))
        log.warning("dead_letters_kept", queue=self._queue.name, letters=len(letters))

    async def _keep(self, letters: list[dead_letters.Letter]) -> bool:
        try:
            await dead_letters.keep(self._pool, letters)
        except (Unavailable, LockTimeout) as away:
            log.warning("dead_letters_wait", queue=self._queue.name, reason=str(away))
        except Exception:
            # Whatever it is, they are not let go: they wait at the broker, and this says so.
            log.exception("dead_letters_not_kept", queue=self._queue.name)
        else:
            return True
        return False
