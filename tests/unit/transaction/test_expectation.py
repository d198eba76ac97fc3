"""When a new transfer is expected to be final."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.transaction import expectation
from services.transaction.expectation import Completions, expect_seconds

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)


def heartbeats(**changed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Those of a system that is well, with changes."""
    found: dict[str, dict[str, Any]] = {
        "monitor": {"role": "monitor", "transfers": 0, "drain_per_s": 0.0, "depths": {}, "age_seconds": 0.4},
        "relay": {"role": "relay", "failing": False, "leads": True, "age_seconds": 0.4},
        "worker": {"role": "worker", "wallet_unavailable": False, "recent_seconds": 0.05, "age_seconds": 0.4},
        "reversal": {"role": "reversal", "age_seconds": 6.0},
    }
    for name, change in changed.items():
        found[name] = found.get(name, {}) | change
    return found


def test_fast_system_has_the_shortest_expectation() -> None:
    """Transfers of milliseconds are expected within two seconds: a pause of a process is no delay. So are the first ones."""
    assert 2.0 == expect_seconds(heartbeats())
    assert 2.0 == expect_seconds(heartbeats(worker={"recent_seconds": None}))


def test_recent_times_of_the_slowest_worker_count() -> None:
    """The slowest tail of any process, with a margin."""
    second = {"role": "worker", "wallet_unavailable": False, "recent_seconds": 6.0, "age_seconds": 1.0}
    assert 9.0 == expect_seconds(heartbeats(second=second))


def test_work_ahead_counts() -> None:
    """3,000 transfers at 200 per second take 15 s, with a margin; an unmeasured rate adds nothing."""
    assert 22.5 == expect_seconds(heartbeats(monitor={"transfers": 3000, "drain_per_s": 200.0}))
    assert 2.0 == expect_seconds(heartbeats(monitor={"transfers": 3000, "drain_per_s": 0.0}))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("monitor", {"age_seconds": 6.0}),
        ("monitor", {"depths": None}),
        ("relay", {"age_seconds": 6.0}),
        ("relay", {"failing": True}),
        ("relay", {"leads": False}),
        ("worker", {"age_seconds": 6.0}),
        ("worker", {"wallet_unavailable": True}),
        ("reversal", {"age_seconds": 31.0}),
    ],
)
def test_nothing_is_expected_of_a_stale_system(name: str, change: dict[str, Any]) -> None:
    """No relay, worker, broker, wallet or reversal: a time would be invented."""
    assert expect_seconds(heartbeats(**{name: change})) is None


def test_silent_system_has_no_expectation() -> None:
    """Also at the first start."""
    assert expect_seconds({}) is None


def test_expectation_is_not_after_the_expiry() -> None:
    """A transfer that expires earlier is final earlier, one way or the other."""
    soon, late = NOW + timedelta(seconds=5), NOW + timedelta(seconds=60)
    assert soon == expectation.expected_by(NOW, soon, 9.0)
    assert NOW + timedelta(seconds=9) == expectation.expected_by(NOW, late, 9.0)
    assert expectation.expected_by(NOW, late, None) is None


def test_quantile_is_that_of_the_last_minute() -> None:
    """One slow transfer of two hundred is no trend, three are; after a minute they are forgotten."""
    completions = Completions()
    assert completions.recent_seconds(now=0.0) is None
    for _ in range(199):
        completions.add(0.1, now=1.0)
    completions.add(9.0, now=1.0)
    assert 0.1 == completions.recent_seconds(now=2.0)
    for _ in range(2):
        completions.add(9.0, now=1.0)
    assert 9.0 == completions.recent_seconds(now=2.0)
    assert completions.recent_seconds(now=61.5) is None
