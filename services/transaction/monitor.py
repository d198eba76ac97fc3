"""What the people who watch the queue see: depth, age, drain; measured once a second beside the relay."""

from __future__ import annotations

import asyncio
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
from services.transaction import commands
from services.transaction.queue_zone import BUSY_FROM
from services.transaction.steps import MONITOR

MEASURE_SECONDS = 1.0
SMOOTHING = 0.3
"""How much the newest second counts in the drain rate."""

QUEUE = topology.REQUESTED_QUEUE

# Here and not in metrics.py: every process exports what it has imported, and only this one measures these.
PENDING = Gauge("payflow_pending_transfers", "Accepted and not terminal.")
STALE = Gauge("payflow_stale_pending_transfers", "PENDING past their expiry.")
QUEUE_TRANSFERS = Gauge("payflow_queue_transfers", "Depth in transfers: accepted and not terminal.", ["queue"])
QUEUE_OLDEST = Gauge("payflow_queue_oldest_age_seconds", "Age of the oldest transfer that waits.", ["queue"])
QUEUE_DRAIN = Gauge("payflow_queue_drain_per_second", "Transfers finalized per second, lately.", ["queue"])

log = structlog.get_logger()


class Monitor:
    """Measures and publishes: as gauges for Prometheus, as a heartbeat for the api."""

    def __init__(self, pool: Pool, publisher: Publisher, relay: Relay, instance: str) -> None:
        self._pool = pool
        self._publisher = publisher
        self._relay = relay
        self._instance = instance
        self._drain = 0.0
        self._last: tuple[float, Mapping[str, int]] | None = None

    async def run(self) -> None:
        """Measure for ever; a database or broker that is away is waited for."""
        while True:
            try:
                await self._measure()
            except (Unavailable, LockTimeout):
                log.debug("measurement_missed")
            await asyncio.sleep(MEASURE_SECONDS)

    async def beat(self) -> None:
        """Tell the others how the relay fares; a loop of its own, for a frozen broker holds the measurements up."""
        while True:
            try:
                await commands.beat(self._pool, self._instance, {"role": "relay", "failing": self._relay.failing})
            except (Unavailable, LockTimeout):
                log.debug("heartbeat_missed")
            await asyncio.sleep(MEASURE_SECONDS)

    async def _measure(self) -> None:
        row, heartbeats = await commands.measure(self._pool)
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
        await commands.beat(self._pool, MONITOR, state)
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
        """The rate at which all workers finalize when there is enough to do; a quiet second shows what they can do at least."""
        now = time.monotonic()
        finalized = {name: int(beat["finalized"]) for name, beat in heartbeats.items() if beat.get("role") == "worker"}
        if self._last is not None:
            then, before = self._last
            # A worker that was born again counts from zero.
            moved = sum(max(0, count - before.get(name, 0)) for name, count in finalized.items() if name in before)
            rate = moved / (now - then)
            if moved and pending >= BUSY_FROM:
                self._drain += SMOOTHING * (rate - self._drain)
            else:
                self._drain = max(self._drain, rate)
        self._last = (now, finalized)
