"""Queues without a leader: the broker responds, and the queue does not.

Such a queue accepts and delivers no message. The cause may be temporary: a cluster elects a leader, or nodes are down. It is
permanent where RabbitMQ 3.10 has lost the entry of a queue that was declared within the second before the broker was killed.
A client cannot tell these cases apart, and the repair of the last one, deleting the queue, would destroy messages in the others.
So nothing is deleted: a gauge and a log line report the queue until it responds.
"""

from __future__ import annotations

import time

import structlog

from services.chassis import metrics

LEADERLESS_SECONDS = 8.0
"""Longer than an election, and than an immediate restart of the broker."""

TIMEOUTS_MIN = 2
log = structlog.get_logger()


class LeaderlessQueues:
    """The queues of one process that do not respond."""

    def __init__(self) -> None:
        self._timeouts: dict[str, tuple[int, float]] = {}

    def record_timeout(self, queue_name: str) -> None:
        """Record that the broker responded and this queue did not."""
        timeouts, since = self._timeouts.get(queue_name, (0, time.monotonic()))
        self._timeouts[queue_name] = (timeouts + 1, since)
        if self._is_leaderless(queue_name):
            metrics.QUEUE_LEADERLESS.labels(queue_name).set(1)
            seconds = round(time.monotonic() - since)
            log.error("queue_leaderless", queue=queue_name, seconds=seconds, timeouts=timeouts + 1)

    def record_response(self, queue_name: str) -> None:
        """Record that this queue responded."""
        if queue_name in self._timeouts:
            if self._is_leaderless(queue_name):
                log.warning("queue_recovered", queue=queue_name)
            del self._timeouts[queue_name]
            metrics.QUEUE_LEADERLESS.labels(queue_name).set(0)

    def _is_leaderless(self, queue_name: str) -> bool:
        timeouts, since = self._timeouts[queue_name]
        return timeouts >= TIMEOUTS_MIN and time.monotonic() - since >= LEADERLESS_SECONDS
