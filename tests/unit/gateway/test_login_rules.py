"""How long a login attempt has to wait: the rule, as properties."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.security.login_rules import UNDER_WAY_SECONDS, WAIT_SECONDS_MAX, FailureCounters, Rule

RULE = Rule("test", free=5, memory_seconds=3600, parallel=8)


@settings(deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 200), st.floats(1, 10**6))
def test_waits_grow_and_end(failures: int, free: int, longest: float) -> None:
    """Zero at first, then doubling up to the maximum."""
    rule = Rule("any", free=free, memory_seconds=3600, wait_seconds_max=longest)
    wait, next_wait = rule.wait_seconds(failures), rule.wait_seconds(failures + 1)

    assert (wait == 0) == (failures < free)
    assert wait <= next_wait <= longest
    assert next_wait == (min(2 * wait, longest) if wait else float(failures + 1 == free))


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 400)), max_size=200))
def test_attempts_are_few_at_any_pace(steps: list[tuple[bool, float]]) -> None:
    """However an attacker times attempts: only the free ones and one per completed wait are admitted."""
    counters, now, made = FailureCounters(RULE), 1e6, 0
    for _, pause in steps:
        now += pause
        if counters.wait_seconds("victim", now):
            continue
        counters.begin("victim", now)
        counters.fail("victim", now)
        counters.end("victim")
        made += 1
        assert counters.wait_seconds("victim", now) == pytest.approx(RULE.wait_seconds(made))
    served = sum(RULE.wait_seconds(count) for count in range(made))

    assert served <= now - 1e6 + 1e-3


@settings(deadline=None)
@given(st.integers(0, 20), st.integers(1, 50))
def test_concurrent_attempts_are_limited(failures: int, burst: int) -> None:
    """Of a burst, no more attempts are admitted than the rule allows; after failures, one at a time."""
    counters, now = FailureCounters(RULE), 1e6
    for _ in range(failures):
        counters.fail("victim", now)
    now += WAIT_SECONDS_MAX
    admitted = 0
    for _ in range(burst):
        if not counters.wait_seconds("victim", now):
            counters.begin("victim", now)
            admitted += 1

    assert min(burst, RULE.room(failures)) == admitted
    assert counters.wait_seconds("victim", now + WAIT_SECONDS_MAX + UNDER_WAY_SECONDS) == 0


def test_success_and_time_reset_the_counter() -> None:
    """The counter restarts after a success, and an hour after the last failure; a success does not extend the hour."""
    counters, now = FailureCounters(RULE), 1e6
    for _ in range(9):
        counters.fail("one", now)
        counters.fail("other", now)
    assert 16.0 == counters.wait_seconds("one", now)

    counters.reset("one")
    counters.begin("other", now + 3000)
    counters.end("other")

    assert 0 == counters.wait_seconds("one", now)
    assert 0 == counters.wait_seconds("other", now + 3600)
    counters.fail("other", now + 3601)
    assert 0 == counters.wait_seconds("other", now + 3601)


def test_memory_is_bounded_and_keeps_active_counters() -> None:
    """Many names do not create unbounded counters, and do not evict one that is in constant use."""
    counters = FailureCounters(RULE, count_max=100)
    for number in range(10_000):
        counters.fail(f"name {number}", 1e6)
        if number % 50 == 0:
            counters.fail("victim", 1e6)

    assert 100 == len(counters)
    assert WAIT_SECONDS_MAX == counters.wait_seconds("victim", 1e6)
