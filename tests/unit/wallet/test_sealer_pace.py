"""How often work that grows with the ledger is repeated."""

from __future__ import annotations

import pytest

from services.wallet.sealer import Pace


class Clock:
    """A monotonic clock that stops until it is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("services.wallet.sealer.time.monotonic", lambda: self.now)


@pytest.mark.parametrize(("took", "wait"), [(0.0, 10.0), (0.5, 10.0), (2.0, 40.0)])
def test_long_work_runs_less_often(monkeypatch: pytest.MonkeyPatch, took: float, wait: float) -> None:
    """At once the first time; then after its period, or after twenty times its duration, if that is longer."""
    clock = Clock(monkeypatch)
    pace = Pace(10.0)
    first = pace.is_due

    started, clock.now = clock.now, clock.now + took
    pace.done(started)
    waits = pace.wait_seconds
    clock.now += wait - 0.001
    early = pace.is_due
    clock.now += 0.001

    assert (True, wait, False, True) == (first, waits, early, pace.is_due)


def test_without_a_share_only_the_period_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass over new rows only runs every period, however long it took."""
    clock = Clock(monkeypatch)
    pace = Pace(10.0, work_share=0)
    clock.now += 100.0
    pace.done(1000.0)

    assert 10.0 == pace.wait_seconds


def test_a_pause_has_a_maximum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that takes long is repeated after the longest pause, but never before its period."""
    clock = Clock(monkeypatch)
    pace, slow = Pace(10.0, pause_seconds_max=30.0), Pace(60.0, pause_seconds_max=30.0)
    clock.now += 100.0
    pace.done(1000.0)
    slow.done(1000.0)

    assert (30.0, 60.0) == (pace.wait_seconds, slow.wait_seconds)
