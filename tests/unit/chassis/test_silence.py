"""When a queue that does not answer is reported."""

from __future__ import annotations

import pytest

from services.chassis import metrics
from services.chassis.silence import Silence

QUEUE = "test.silence"


class Clock:
    """A monotonic clock that stands until it is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("services.chassis.silence.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def reported() -> bool:
    return bool(metrics.QUEUE_SILENT.labels(QUEUE)._value.get())


def test_a_queue_is_silent_after_misses_over_a_while(clock: Clock) -> None:
    """Two misses at once say nothing, nor does one however old; a miss eight seconds after the first one does."""
    known = Silence()
    seen = []
    for seconds in (0.0, 0.0, 7.9, 8.0):
        clock.now = 1000.0 + seconds
        known.missed(QUEUE)
        seen.append(reported())

    assert [False, False, False, True] == seen


def test_one_miss_is_no_silence(clock: Clock) -> None:
    """However long ago it was: an answer in between begins anew."""
    known = Silence()
    known.missed(QUEUE)
    clock.now += 60.0
    known.heard(QUEUE)
    known.missed(QUEUE)

    assert not reported()


def test_an_answer_ends_the_report(clock: Clock) -> None:
    """The gauge goes back with the first answer, and the next silence is counted from its own first miss."""
    known = Silence()
    known.missed(QUEUE)
    clock.now += 8.0
    known.missed(QUEUE)
    before = reported()
    known.heard(QUEUE)
    after = reported()
    known.missed(QUEUE)
    clock.now += 7.0
    known.missed(QUEUE)

    assert (True, False, False) == (before, after, reported())


def test_queues_are_silent_one_by_one(clock: Clock) -> None:
    """A queue that answers says nothing about another one."""
    known = Silence()
    for _ in range(2):
        known.missed(QUEUE)
        known.heard("test.other")
        clock.now += 8.0
    known.missed(QUEUE)

    assert reported()
    assert not metrics.QUEUE_SILENT.labels("test.other")._value.get()
    known.heard(QUEUE)
