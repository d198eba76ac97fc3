"""The drain rate that a monitor works out of what the workers say."""

from __future__ import annotations

from typing import Any

import pytest

from services.transaction.monitor import Monitor
from services.transaction.queue_zone import BUSY_FROM


class Watched:
    """A monitor with a clock that stands until it is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        nothing: Any = None
        self.now = 1000.0
        self.monitor = Monitor(nothing, nothing, nothing, "test")
        monkeypatch.setattr("services.transaction.monitor.time.monotonic", lambda: self.now)

    def after(self, seconds: float, *, pending: int = BUSY_FROM, **finalized: int) -> float:
        """The rate so many seconds later, when the workers have finalized so much since they were started."""
        self.now += seconds
        beats = {name: {"role": "worker", "finalized": count} for name, count in finalized.items()}
        beats |= {"relay-1": {"role": "relay", "failing": None}, "monitor": {"role": "monitor", "finalized": 10**6}}
        self.monitor._observe_drain(beats, pending=pending)
        return self.monitor._drain


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def test_the_newest_second_counts_three_tenths(watched: Watched) -> None:
    """With enough to do the rate follows what all workers finalize together, per second."""
    assert 0.0 == watched.after(1, one=100, two=500)
    assert pytest.approx(30.0) == watched.after(1, one=150, two=550)
    assert pytest.approx(30.0 + 0.3 * (200 - 30)) == watched.after(2, one=350, two=750)


def test_a_worker_that_starts_is_no_work(watched: Watched) -> None:
    """Neither one that begins to count from zero again nor one that was never heard of before moves the rate."""
    watched.after(1, one=1000)
    before = watched.after(1, one=1100)

    assert pytest.approx(30.0) == before
    assert before == watched.after(1, one=5)
    assert before == watched.after(1, one=5, two=9000)


def test_a_quiet_second_shows_the_least_that_can_be_done(watched: Watched) -> None:
    """With little to do the rate never falls, and rises to what was seen."""
    watched.after(1, pending=BUSY_FROM - 1, one=0)

    rates = [watched.after(1, pending=BUSY_FROM - 1, one=count) for count in (40, 50, 50, 130)]

    assert [40.0, 40.0, 40.0, 80.0] == rates


def test_a_queue_that_stands_still_keeps_its_rate(watched: Watched) -> None:
    """Nothing moved although there was enough to do: the workers are away, and what they can do is not known anew."""
    watched.after(1, one=0)
    before = watched.after(1, one=100)

    assert before == watched.after(1, one=100)
