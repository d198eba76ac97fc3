"""The archiver: moves dead letters from the broker to the database, and measures how many are waiting."""

from __future__ import annotations

import asyncio

import structlog
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from prometheus_client import Gauge

from services.chassis import backoff, dead_letters
from services.chassis.consumer import WindowConsumer
from services.chassis.database import LockTimeout, Pool
from services.chassis.roles import Runtime
from services.contracts.refusal import Unavailable
from services.contracts.topology import Queue

MEASURE_SECONDS = 1.0

# Not in metrics.py: every process exports the metrics that it has imported, and only archivers set this one.
DEAD_LETTERS = Gauge("payflow_dead_letters", "Waiting dead letters, archived or not yet.", ["queue"])

log = structlog.get_logger()


class Archiver(WindowConsumer):
    """Archives the dead letters of one queue: first the commit, then the acknowledgement. Several may run."""

    def __init__(self, pool: Pool, *, url: str, queue: Queue, runtime: Runtime) -> None:
        super().__init__(url=url, queue_name=queue.dead_letter, runtime=runtime)
        self._pool = pool
        self._queue = queue

    async def measure(self) -> None:
        """Update the gauge: waiting dead letters that are archived, and those that have arrived and are not."""
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
        arrived = [
            dead_letters.read(self._queue, message.body, message.headers, message.message_id) for message in window
        ]
        tries = 0
        while not await self._archive(arrived):
            tries += 1
            await self._pause(channel, watch, backoff.seconds(tries))
        log.warning("dead_letters_archived", queue=self._queue.name, messages=len(arrived))

    async def _archive(self, arrived: list[dead_letters.NewDeadLetter]) -> bool:
        try:
            await dead_letters.archive(self._pool, arrived)
        except (Unavailable, LockTimeout) as error:
            log.warning("dead_letters_delayed", queue=self._queue.name, reason=str(error))
        except Exception:
            # They stay unacknowledged at the broker.
            log.exception("dead_letters_not_archived", queue=self._queue.name)
        else:
            return True
        return False
