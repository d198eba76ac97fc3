"""Measures the queue once a second, in the relay role: depth, age and drain rate."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from typing import Any

import structlog
from prometheus_client import Gauge

from services.chassis import broker, metrics
from services.chassis.broker import Publisher
from services.chassis.database import LockTimeout, Pool
from services.chassis.outbox import Relay
from services.contracts import topology
from services.contracts.refusal import Unavailable
from services.transaction import commands_heartbeats
from services.transaction.queue_zone import BUSY_FROM
from services.transaction.steps import MONITOR

MEASURE_SECONDS = 1.0
DELETE_SECONDS = 600.0
UNMEASURED_SECONDS_MAX = 10.0
"""After this long without a measurement the figures are removed: an old depth must not look like a present one."""

HEARTBEAT_KEPT_SECONDS = 24 * 3600.0
SMOOTHING = 0.3
"""Weight of the newest second in the drain rate."""

QUEUE = topology.REQUESTED_QUEUE

# Not in metrics.py: a process exports every metric that it imports, and only this one measures these.
PENDING = Gauge("payflow_pending_transfers", "Transfers without an outcome.")
STALE = Gauge("payflow_stale_pending_transfers", "PENDING transfers past their expiry.")
QUEUE_TRANSFERS = Gauge("payflow_queue_transfers", "Transfers without an outcome, by queue.", ["queue"])
QUEUE_OLDEST = Gauge("payflow_queue_oldest_age_seconds", "Age of the oldest transfer without an outcome.", ["queue"])
QUEUE_DRAIN = Gauge("payflow_queue_drain_per_second", "Transfers finalized per second, smoothed.", ["queue"])

log = structlog.get_logger()


class Monitor:
    """Publishes the figures as gauges for Prometheus and as a heartbeat for the api role."""

    def __init__(self, pool: Pool, publisher: Publisher, relay: Relay, instance: str) -> None:
        self._pool = pool
        self._publisher = publisher
        self._relay = relay
        self._instance = instance
        self._drain = 0.0
        self._last: tuple[float, Mapping[str, int]] | None = None
        self._measured_at = time.monotonic()

    async def run(self) -> None:
        """Measure until cancelled; skip a second in which the database is unavailable."""
        while True:
            await self._try_to_measure()
            await asyncio.sleep(MEASURE_SECONDS)

    async def _try_to_measure(self) -> None:
        try:
            await self._measure()
            self._measured_at = time.monotonic()
        except (Unavailable, LockTimeout):
            log.debug("measurement_missed")
            if time.monotonic() - self._measured_at > UNMEASURED_SECONDS_MAX:
                _remove_figures()

    async def run_heartbeat(self) -> None:
        """Record the state of the relay; a separate loop, because a frozen broker delays the measurements."""
        while True:
            try:
                state = {"role": "relay", "failing": self._relay.failing, "leads": self._relay.leads}
                await commands_heartbeats.record_heartbeat(self._pool, self._instance, state)
            except (Unavailable, LockTimeout):
                log.debug("heartbeat_missed")
            await asyncio.sleep(MEASURE_SECONDS)

    async def run_deletion(self) -> None:
        """Delete old heartbeats: where processes have names of their own, as in a cluster, each leaves one."""
        while True:
            try:
                await commands_heartbeats.delete_old_heartbeats(self._pool, HEARTBEAT_KEPT_SECONDS)
            except (Unavailable, LockTimeout):
                log.debug("heartbeats_not_deleted")
            await asyncio.sleep(DELETE_SECONDS)

    async def _measure(self) -> None:
        row, heartbeats = await commands_heartbeats.measure(self._pool)
        self._observe_drain(heartbeats, pending=row["pending"])
        depths = await self._depths()
        state = {
            "role": MONITOR,
            "transfers": row["pending"],
            "oldest_seconds": row["oldest_seconds"],
            "stale": row["stale"],
            "drain_per_s": self._drain,
            "depths": depths,
        }
        await commands_heartbeats.record_heartbeat(self._pool, MONITOR, state)
        PENDING.set(row["pending"])
        STALE.set(row["stale"])
        QUEUE_TRANSFERS.labels(QUEUE.name).set(row["pending"])
        QUEUE_OLDEST.labels(QUEUE.name).set(row["oldest_seconds"])
        QUEUE_DRAIN.labels(QUEUE.name).set(self._drain)
        for queue in topology.QUEUES:
            if depths is not None:
                metrics.QUEUE_MESSAGES.labels(queue.name, "ready").set(depths[queue.name])

    async def _depths(self) -> dict[str, int] | None:
        names = [name for queue in topology.QUEUES for name in (queue.name, queue.dead_letter)]
        try:
            return await self._publisher.depths(names)
        except broker.UNAVAILABLE:
            return None

    def _observe_drain(self, heartbeats: Mapping[str, Mapping[str, Any]], *, pending: int) -> None:
        """Measure how fast all workers finalize. With little to do the rate only rises: a quiet second shows a lower bound."""
        now = time.monotonic()
        finalized = {
            name: int(state["finalized"]) for name, state in heartbeats.items() if state.get("role") == "worker"
        }
        if self._last is not None:
            then, before = self._last
            # A restarted worker counts from zero.
            moved = sum(max(0, count - before.get(name, 0)) for name, count in finalized.items() if name in before)
            rate = moved / (now - then)
            if moved and pending >= BUSY_FROM:
                self._drain += SMOOTHING * (rate - self._drain)
            else:
                self._drain = max(self._drain, rate)
        self._last = (now, finalized)


def _remove_figures() -> None:
    """Export no figure in place of an old one. A gauge without labels cannot be removed: it becomes NaN, which fires no alert."""
    for gauge in (QUEUE_TRANSFERS, QUEUE_OLDEST, QUEUE_DRAIN):
        gauge.clear()
    for gauge in (PENDING, STALE):
        gauge.set(math.nan)
