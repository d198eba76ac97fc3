"""The pause between two attempts."""

from __future__ import annotations

import pytest

from services.chassis import backoff


def test_each_failure_doubles_the_pause_up_to_the_longest() -> None:
    """0.2 s after the first failure, then twice as long each time, and never longer than two seconds."""
    assert [0.2, 0.4, 0.8, 1.6, 2.0, 2.0] == [pytest.approx(backoff.seconds(failures)) for failures in range(1, 7)]


@pytest.mark.parametrize("failures", [32, 33, 2000])
def test_any_number_of_failures_has_a_bounded_pause(failures: int) -> None:
    """However many failures there were, the pause is the longest one."""
    assert 3600.0 == backoff.seconds(failures, first=30.0, longest=3600.0)


def test_first_and_longest_pause_are_parameters() -> None:
    """Without a failure the first pause, then doubled."""
    assert [30.0, 60.0, 120.0, 150.0] == [backoff.seconds(n, first=30.0, longest=150.0) for n in range(4)]
