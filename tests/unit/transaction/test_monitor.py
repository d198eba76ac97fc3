"""The drain rate that a monitor computes from the heartbeats of the workers, and what it exports when it cannot measure."""

from __future__ import annotations

import math
from typing import Any

import pytest
from prometheus_client import Gauge

from services.chassis.database import DatabaseUnavailable
from services.transaction.monitor import PENDING, QUEUE_TRANSFERS, UNMEASURED_SECONDS_MAX, Monitor
from services.transaction.queue_zone import BUSY_FROM


class Watched:
    """A monitor with a clock that only the test advances."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        nothing: Any = None
        self.now = 1000.0
        self.monitor = Monitor(nothing, nothing, nothing, "test")
        monkeypatch.setattr("services.transaction.monitor.time.monotonic", lambda: self.now)

    def after(self, seconds: float, *, pending: int = BUSY_FROM, **finalized: int) -> float:
        """The rate after so many seconds, given how much each worker has finalized since its start."""
        self.now += seconds
        heartbeats = {name: {"role": "worker", "finalized": count} for name, count in finalized.items()}
        heartbeats |= {
            "relay-1": {"role": "relay", "failing": None},
            "monitor": {"role": "monitor", "finalized": 10**6},
        }
        self.monitor._observe_drain(heartbeats, pending=pending)
        return self.monitor._drain


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def test_newest_second_has_a_weight_of_three_tenths(watched: Watched) -> None:
    """With enough pending work the rate follows what all workers finalize together, per second."""
    assert 0.0 == watched.after(1, one=100, two=500)
    assert pytest.approx(30.0) == watched.after(1, one=150, two=550)
    assert pytest.approx(30.0 + 0.3 * (200 - 30)) == watched.after(2, one=350, two=750)


def test_started_worker_does_not_change_the_rate(watched: Watched) -> None:
    """Neither a worker that counts from zero again nor a new one changes the rate."""
    watched.after(1, one=1000)
    before = watched.after(1, one=1100)

    assert pytest.approx(30.0) == before
    assert before == watched.after(1, one=5)
    assert before == watched.after(1, one=5, two=9000)


def test_quiet_second_is_a_lower_bound(watched: Watched) -> None:
    """With little pending work the rate never falls, and rises to what was measured."""
    watched.after(1, pending=BUSY_FROM - 1, one=0)

    rates = [watched.after(1, pending=BUSY_FROM - 1, one=count) for count in (40, 50, 50, 130)]

    assert [40.0, 40.0, 40.0, 80.0] == rates


def test_blocked_queue_keeps_its_rate(watched: Watched) -> None:
    """Nothing was finalized although work was pending: the workers are unavailable, and their rate stays as measured."""
    watched.after(1, one=0)
    before = watched.after(1, one=100)

    assert before == watched.after(1, one=100)


class Blind(Monitor):
    """A monitor whose database is unavailable."""

    async def _measure(self) -> None:
        raise DatabaseUnavailable("down")


async def test_old_figures_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A depth stays exported for some missed measurements, and is then missing, so that it reads as unknown, never as it was."""
    nothing: Any = None
    now = 1000.0
    monkeypatch.setattr("services.transaction.monitor.time.monotonic", lambda: now)
    monitor = Blind(nothing, nothing, nothing, "test")
    QUEUE_TRANSFERS.labels("test").set(7)
    PENDING.set(7)

    now += UNMEASURED_SECONDS_MAX
    await monitor._try_to_measure()
    assert [7.0] == exported(QUEUE_TRANSFERS) == exported(PENDING)

    now += 1
    await monitor._try_to_measure()
    assert [] == exported(QUEUE_TRANSFERS)
    assert math.isnan(exported(PENDING)[0])


def exported(gauge: Gauge) -> list[float]:
    """The values of the series of a gauge."""
    return [sample.value for family in gauge.collect() for sample in family.samples]
