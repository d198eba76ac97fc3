"""A test's time limit applies to the test: shared fixtures have their own limit for set-up and tear-down.

pytest-timeout counts from the beginning of a test's set-up to the end of its tear-down. The first test that uses the stack
would include its start, and the last test of a process would include the stop of everything.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

SHARED_SECONDS_MAX = 600.0
"""For set-up or tear-down, which may start or stop everything shared, on a busy machine."""

_LIMIT: pytest.StashKey[Any] = pytest.StashKey()


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    """Remember the test's own limit; pytest-timeout sets the timer."""
    item.stash.setdefault(_LIMIT, settings)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """Apply the longer limit to fixtures."""
    _start_over(item, SHARED_SECONDS_MAX)
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Apply the test's own limit."""
    _start_over(item)
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """Apply the longer limit to fixtures."""
    _start_over(item, SHARED_SECONDS_MAX)
    return (yield)


def _start_over(item: pytest.Item, at_least: float = 0.0) -> None:
    limit = item.stash.get(_LIMIT, None)
    if limit is None:  # switched off
        return
    item.ihook.pytest_timeout_cancel_timer(item=item)
    item.ihook.pytest_timeout_set_timer(item=item, settings=limit._replace(timeout=max(limit.timeout, at_least)))
