"""Queues that say nothing although the broker does: it knows them, and they have no leader.

Such a queue takes no message and gives none. It may be for a moment, while a cluster elects, or until nodes are back; and
RabbitMQ 3.10 can lose the entry of a queue that was declared in the second before the broker was killed, then it is for
ever. From here the three look alike, and only the last could be mended by deleting the queue, which in the others would
delete what it holds. So nothing is deleted: it is told, until it is over.
"""

from __future__ import annotations

import time

import structlog

from services.chassis import metrics

SILENT_SECONDS = 8.0
"""Longer than an election takes, and than the broker is away for when it is restarted at once."""

MISSES_MIN = 2
log = structlog.get_logger()


class Silence:
    """What one process knows of the queues it speaks with."""

    def __init__(self) -> None:
        self._misses: dict[str, tuple[int, float]] = {}

    def missed(self, queue_name: str) -> None:
        """Note that the broker was there and this queue did not answer."""
        misses, since = self._misses.get(queue_name, (0, time.monotonic()))
        self._misses[queue_name] = (misses + 1, since)
        if self._is_silent(queue_name):
            metrics.QUEUE_SILENT.labels(queue_name).set(1)
            log.error("queue_silent", queue=queue_name, seconds=round(time.monotonic() - since), misses=misses + 1)

    def heard(self, queue_name: str) -> None:
        """Note that this queue answered."""
        if queue_name in self._misses:
            if self._is_silent(queue_name):
                log.warning("queue_recovered", queue=queue_name)
            del self._misses[queue_name]
            metrics.QUEUE_SILENT.labels(queue_name).set(0)

    def _is_silent(self, queue_name: str) -> bool:
        misses, since = self._misses[queue_name]
        return misses >= MISSES_MIN and time.monotonic() - since >= SILENT_SECONDS
