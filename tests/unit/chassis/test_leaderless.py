"""When a queue without a leader is reported."""

from __future__ import annotations

import pytest

from services.chassis import metrics
from services.chassis.leaderless import LeaderlessQueues

QUEUE = "test.leaderless"


class Clock:
    """A monotonic clock that stops until it is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("services.chassis.leaderless.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def reported() -> bool:
    return bool(metrics.QUEUE_LEADERLESS.labels(QUEUE)._value.get())


def test_a_queue_is_reported_after_repeated_timeouts(clock: Clock) -> None:
    """Timeouts within eight seconds are not reported; one eight seconds after the first is."""
    queues = LeaderlessQueues()
    seen = []
    for seconds in (0.0, 0.0, 7.9, 8.0):
        clock.now = 1000.0 + seconds
        queues.record_timeout(QUEUE)
        seen.append(reported())

    assert [False, False, False, True] == seen


def test_a_single_timeout_is_not_reported(clock: Clock) -> None:
    """However old it is: a response in between resets the count."""
    queues = LeaderlessQueues()
    queues.record_timeout(QUEUE)
    clock.now += 60.0
    queues.record_response(QUEUE)
    queues.record_timeout(QUEUE)

    assert not reported()


def test_a_response_ends_the_report(clock: Clock) -> None:
    """The gauge is reset by the first response, and later timeouts are counted from the first one after it."""
    queues = LeaderlessQueues()
    queues.record_timeout(QUEUE)
    clock.now += 8.0
    queues.record_timeout(QUEUE)
    before = reported()
    queues.record_response(QUEUE)
    after = reported()
    queues.record_timeout(QUEUE)
    clock.now += 7.0
    queues.record_timeout(QUEUE)

    assert (True, False, False) == (before, after, reported())


def test_queues_are_reported_separately(clock: Clock) -> None:
    """A response of one queue does not reset another one."""
    queues = LeaderlessQueues()
    for _ in range(2):
        queues.record_timeout(QUEUE)
        queues.record_response("test.other")
        clock.now += 8.0
    queues.record_timeout(QUEUE)

    assert reported()
    assert not metrics.QUEUE_LEADERLESS.labels("test.other")._value.get()
    queues.record_response(QUEUE)
