"""How long a guess has to wait: the rule, as properties."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.security.login_rules import UNDER_WAY_SECONDS, WAIT_SECONDS_MAX, FailureCounters, Rule

RULE = Rule("test", free=5, memory_seconds=3600, parallel=8)


@settings(deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 200), st.floats(1, 10**6))
def test_waits_grow_and_end(failures: int, free: int, longest: float) -> None:
    """Nothing at first, then at least as long as before, doubling, and never longer than the longest."""
    rule = Rule("any", free=free, memory_seconds=3600, wait_seconds_max=longest)
    wait, next_wait = rule.wait_seconds(failures), rule.wait_seconds(failures + 1)

    assert (wait == 0) == (failures < free)
    assert wait <= next_wait <= longest
    assert next_wait == (min(2 * wait, longest) if wait else float(failures + 1 == free))


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 400)), max_size=200))
def test_guesses_are_few_whatever_the_pace(steps: list[tuple[bool, float]]) -> None:
    """However an attacker times wrong guesses: those let through are the free ones and one for each wait that was served."""
    tallies, now, made = FailureCounters(RULE), 1e6, 0
    for _, pause in steps:
        now += pause
        if tallies.wait_seconds("victim", now):
            continue
        tallies.begin("victim", now)
        tallies.fail("victim", now)
        tallies.end("victim")
        made += 1
        assert tallies.wait_seconds("victim", now) == pytest.approx(RULE.wait_seconds(made))
    served = sum(RULE.wait_seconds(count) for count in range(made))

    assert served <= now - 1e6 + 1e-3


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(1, 50))
def test_few_are_under_way_together(failures: int, crowd: int) -> None:
    """A crowd at one instant gets no more through than the rule has room for; then one at a time."""
    tallies, now = FailureCounters(RULE), 1e6
    for _ in range(failures):
        tallies.fail("victim", now)
    now += WAIT_SECONDS_MAX
    through = 0
    for _ in range(crowd):
        if not tallies.wait_seconds("victim", now):
            tallies.begin("victim", now)
            through += 1

    assert min(crowd, RULE.room(failures)) == through
    assert tallies.wait_seconds("victim", now + WAIT_SECONDS_MAX + UNDER_WAY_SECONDS) == 0


def test_right_guess_forgives_and_time_forgets() -> None:
    """After a right guess, and an hour after the last wrong one, it begins anew; right guesses do not prolong the hour."""
    tallies, now = FailureCounters(RULE), 1e6
    for _ in range(9):
        tallies.fail("one", now)
        tallies.fail("other", now)
    assert 16.0 == tallies.wait_seconds("one", now)

    tallies.reset("one")
    tallies.begin("other", now + 3000)
    tallies.end("other")

    assert 0 == tallies.wait_seconds("one", now)
    assert 0 == tallies.wait_seconds("other", now + 3600)
    tallies.fail("other", now + 3601)
    assert 0 == tallies.wait_seconds("other", now + 3601)


def test_memory_is_bounded_and_keeps_who_is_guessed_at() -> None:
    """A million names make no million tallies, and do not push out the one that is touched all the time."""
    tallies = FailureCounters(RULE, count_max=100)
    for number in range(10_000):
        tallies.fail(f"name {number}", 1e6)
        if number % 50 == 0:
            tallies.fail("victim", 1e6)

    assert 100 == len(tallies)
    assert WAIT_SECONDS_MAX == tallies.wait_seconds("victim", 1e6)
