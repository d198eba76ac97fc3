"""When a transfer that is accepted now will probably be final: from recent completion times and the work ahead. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from services.transaction.steps import MONITOR, SILENT_SECONDS, list_alive

SECONDS_MIN = 2.0
"""A shorter expectation would be missed by every pause of a process."""

MARGIN = 1.5
REVERSAL_SILENT_SECONDS = 30.0
"""The reversal passes at least every 10 s."""

QUANTILE = 0.99
RECENT_MAX = 512
RECENT_SECONDS = 60.0


class Completions:
    """How long the last transfers of this process took, from acceptance to the outcome, in seconds."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[float, float]] = deque(maxlen=RECENT_MAX)

    def add(self, seconds: float, *, now: float) -> None:
        """Record one; `now` on the monotonic clock."""
        self._seconds.append((now, seconds))

    def recent_seconds(self, *, now: float) -> float | None:
        """The quantile over the last minute; None if nothing was completed."""
        recent = sorted(seconds for at, seconds in self._seconds if now - at < RECENT_SECONDS)
        return recent[min(len(recent) - 1, int(QUANTILE * len(recent)))] if recent else None


def expect_seconds(heartbeats: Mapping[str, Mapping[str, Any]]) -> float | None:
    """How many seconds a new transfer will take at most, probably; None while a background job that it needs is stale."""
    monitor = heartbeats.get(MONITOR)
    workers = [worker for worker in list_alive(heartbeats, "worker") if not worker["wallet_unavailable"]]
    if monitor is None or not workers:
        return None
    if not _is_published(monitor, heartbeats) or not _is_reversed(heartbeats):
        return None
    pending, drain = int(monitor["transfers"]), float(monitor["drain_per_s"])
    ahead = pending / drain if drain > 0 else 0.0
    recent = max(worker.get("recent_seconds") or 0.0 for worker in workers)
    return max(SECONDS_MIN, MARGIN * max(ahead, recent))


def expected_by(created_at: datetime, expires_at: datetime, seconds: float | None) -> datetime | None:
    """The time by which the transfer is expected to be final; not after its expiry."""
    return None if seconds is None else min(expires_at, created_at + timedelta(seconds=seconds))


def _is_published(monitor: Mapping[str, Any], heartbeats: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether the queue is measured, so the broker responds, and a relay publishes."""
    relays = [relay for relay in list_alive(heartbeats, "relay") if relay.get("leads", True)]
    is_measured = monitor["age_seconds"] < SILENT_SECONDS and monitor["depths"] is not None
    return is_measured and any(not relay["failing"] for relay in relays)


def _is_reversed(heartbeats: Mapping[str, Mapping[str, Any]]) -> bool:
    return any(
        state.get("role") == "reversal" and state["age_seconds"] < REVERSAL_SILENT_SECONDS
        for state in heartbeats.values()
    )
