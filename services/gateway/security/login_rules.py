"""Pure: how long a guess has to wait after those that were wrong. The waits grow, end, and are forgotten.

A tally belongs to whoever is guarded: an account at an address, an account everywhere, an address for all accounts. While a
tally has wrong guesses to spare, several guesses may be under way at the same time; after that each takes a turn of its
own, and turns come ever more slowly.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

WAIT_SECONDS_MAX = 300.0
"""The longest wait between two guesses, usually. It ends: nobody is locked out for good."""

DOUBLINGS_MAX = 40
"""More doublings than any wait needs; larger powers would only be slow to make."""

TALLIES_MAX = 50_000
"""So many tallies of a kind one process keeps; the ones longest untouched go first."""

UNDER_WAY_SECONDS = 15.0
"""A guess of which nothing was heard for so long is not under way any more."""


@dataclass(frozen=True, slots=True)
class Rule:
    """`free` wrong guesses cost nothing, the waits after them double; `memory_seconds` after the last all is forgotten.

    `parallel`: so many guesses may be under way at a time while none was wrong. No wait is longer than `wait_seconds_max`.
    """

    name: str
    free: int
    memory_seconds: float
    parallel: int = 64
    wait_seconds_max: float = WAIT_SECONDS_MAX

    def wait_seconds(self, failures: int) -> float:
        """The wait after so many wrong guesses."""
        if failures < self.free:
            return 0.0
        return min(2.0 ** min(failures - self.free, DOUBLINGS_MAX), self.wait_seconds_max)

    def room(self, failures: int) -> int:
        """How many guesses may be under way at a time after so many wrong ones."""
        return self.parallel if failures <= 0 else max(1, self.free - failures)


@dataclass(slots=True)
class Tally:
    """What is remembered: wrong guesses, when the last was, the time before which none may be made, how many are under way."""

    failures: int = 0
    failed_at: float = 0.0
    until: float = 0.0
    under_way: int = 0
    begun_at: float = 0.0


class Tallies:
    """The tallies of one rule in this process; bounded. Times are seconds of one clock that never goes back."""

    def __init__(self, rule: Rule, *, count_max: int = TALLIES_MAX) -> None:
        self.rule = rule
        self._count_max = count_max
        self._tallies: OrderedDict[str, Tally] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tallies)

    def wait_seconds(self, key: str, now: float) -> float:
        """How long a guess has to wait; 0 when it may be made now."""
        tally = self._find(key, now)
        if tally is None:
            return 0.0
        if tally.until > now:
            return tally.until - now
        return 1.0 if tally.under_way >= self.rule.room(tally.failures) else 0.0

    def begin(self, key: str, now: float) -> None:
        """A guess is made. Where waits have begun it takes the turn: the next one has to wait whatever comes of it."""
        tally = self._touch(key, now)
        tally.under_way += 1
        tally.begun_at = now
        tally.until = max(tally.until, now + self.rule.wait_seconds(tally.failures))

    def fail(self, key: str, now: float) -> None:
        """The guess was wrong. The wait begins now, however long the guess took."""
        tally = self._touch(key, now)
        tally.failures += 1
        tally.failed_at = now
        tally.until = max(tally.until, now + self.rule.wait_seconds(tally.failures))

    def end(self, key: str) -> None:
        """The guess is over."""
        tally = self._tallies.get(key)
        if tally is not None:
            tally.under_way = max(0, tally.under_way - 1)

    def forgive(self, key: str) -> None:
        """The guess was right: the wrong ones before it were slips. Others may still be under way."""
        tally = self._tallies.get(key)
        if tally is not None:
            tally.failures, tally.until = 0, 0.0

    def _touch(self, key: str, now: float) -> Tally:
        tally = self._find(key, now)
        if tally is None:
            tally = self._tallies[key] = Tally()
        self._tallies.move_to_end(key)
        if len(self._tallies) > self._count_max:
            self._tallies.popitem(last=False)
        return tally

    def _find(self, key: str, now: float) -> Tally | None:
        tally = self._tallies.get(key)
        if tally is None:
            return None
        if now - tally.failed_at >= self.rule.memory_seconds:
            tally.failures, tally.until = 0, 0.0
        if now - tally.begun_at >= UNDER_WAY_SECONDS:
            tally.under_way = 0
        return tally
