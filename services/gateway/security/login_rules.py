"""Pure: how long a login attempt has to wait after failed ones. Waits grow, have a maximum, and expire.

A counter belongs to what is protected: an account at an address, an account everywhere, or an address for all accounts. While
failures are still free, several attempts may be under way at the same time; after that they are admitted one by one, at growing
intervals.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

WAIT_SECONDS_MAX = 300.0
"""The default longest wait between two attempts. It is finite: no account is locked permanently."""

DOUBLINGS_MAX = 40
"""More doublings than any wait needs; larger powers would only be slow to compute."""

COUNTERS_MAX = 50_000
"""So many counters of a rule one process keeps; the least recently used are evicted first."""

UNDER_WAY_SECONDS = 15.0
"""An attempt without a result for so long no longer counts as under way."""


@dataclass(frozen=True, slots=True)
class Rule:
    """`free` failures cost nothing, the waits after them double; `memory_seconds` after the last failure all is forgotten.

    `parallel`: so many attempts may be under way at a time before the first failure. No wait exceeds `wait_seconds_max`.
    """

    name: str
    free: int
    memory_seconds: float
    parallel: int = 64
    wait_seconds_max: float = WAIT_SECONDS_MAX

    def wait_seconds(self, failures: int) -> float:
        """The wait after so many failures."""
        if failures < self.free:
            return 0.0
        return min(2.0 ** min(failures - self.free, DOUBLINGS_MAX), self.wait_seconds_max)

    def room(self, failures: int) -> int:
        """How many attempts may be under way at a time after so many failures."""
        return self.parallel if failures <= 0 else max(1, self.free - failures)


@dataclass(slots=True)
class FailureCounter:
    """Failures, the time of the last one, the time before which no attempt is admitted, and the attempts under way."""

    failures: int = 0
    failed_at: float = 0.0
    until: float = 0.0
    under_way: int = 0
    begun_at: float = 0.0


class FailureCounters:
    """The counters of one rule in this process; bounded. Times are seconds of one clock that never goes back."""

    def __init__(self, rule: Rule, *, count_max: int = COUNTERS_MAX) -> None:
        self.rule = rule
        self._count_max = count_max
        self._counters: OrderedDict[str, FailureCounter] = OrderedDict()

    def __len__(self) -> int:
        return len(self._counters)

    def wait_seconds(self, key: str, now: float) -> float:
        """How long an attempt has to wait; 0 if it is admitted now."""
        counter = self._find(key, now)
        if counter is None:
            return 0.0
        if counter.until > now:
            return counter.until - now
        return 1.0 if counter.under_way >= self.rule.room(counter.failures) else 0.0

    def begin(self, key: str, now: float) -> None:
        """Admit an attempt. Once waits have begun, the next attempt has to wait whatever the result of this one."""
        counter = self._touch(key, now)
        counter.under_way += 1
        counter.begun_at = now
        counter.until = max(counter.until, now + self.rule.wait_seconds(counter.failures))

    def fail(self, key: str, now: float) -> None:
        """The attempt failed. The wait starts now, however long the attempt took."""
        counter = self._touch(key, now)
        counter.failures += 1
        counter.failed_at = now
        counter.until = max(counter.until, now + self.rule.wait_seconds(counter.failures))

    def end(self, key: str) -> None:
        """The attempt is over."""
        counter = self._counters.get(key)
        if counter is not None:
            counter.under_way = max(0, counter.under_way - 1)

    def reset(self, key: str) -> None:
        """The attempt succeeded: earlier failures were mistakes. Other attempts may still be under way."""
        counter = self._counters.get(key)
        if counter is not None:
            counter.failures, counter.until = 0, 0.0

    def _touch(self, key: str, now: float) -> FailureCounter:
        counter = self._find(key, now)
        if counter is None:
            counter = self._counters[key] = FailureCounter()
        self._counters.move_to_end(key)
        if len(self._counters) > self._count_max:
            self._counters.popitem(last=False)
        return counter

    def _find(self, key: str, now: float) -> FailureCounter | None:
        counter = self._counters.get(key)
        if counter is None:
            return None
        if now - counter.failed_at >= self.rule.memory_seconds:
            counter.failures, counter.until = 0, 0.0
        if now - counter.begun_at >= UNDER_WAY_SECONDS:
            counter.under_way = 0
        return counter
