"""The history that a run begins with."""

from __future__ import annotations

from tests.alerts.history import SERIES
from tests.harness import monitoring


def test_the_history_is_that_of_the_error_budgets() -> None:
    """It has each series that a window is a sum of, and no other."""
    summed = {
        name
        for name in monitoring.recorded()
        for rule in monitoring.rules()
        if f"sum_over_time({name}[" in rule["expr"]
    }

    assert summed == set(SERIES)
