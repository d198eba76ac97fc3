"""Tests that share a stack or a broker run in one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.placement import BROKER, FIRST, TOGETHER, group_of

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("tests/e2e/test_money.py::test_key_rules", "tests/e2e"),
        ("tests/e2e/test_guide.py::test_it[tests/chaos/x]", "tests/e2e"),
        ("tests/chaos/test_broker.py::test_broker_down", "tests/chaos"),
        ("tests/chaos/test_overload.py::test_more", "tests/chaos/test_overload.py"),
        ("tests/integration/transaction/test_path.py::test_it", BROKER),
        ("tests/unit/test_placement.py::test_it", "tests/unit/test_placement.py"),
    ],
)
def test_tests_are_grouped_by_what_they_share(test: str, expected: str) -> None:
    """A file with a stack of its own may run anywhere; the rest of its folder stays together."""
    assert expected == group_of(test)


def test_listed_files_exist() -> None:
    """Every listed file exists."""
    groups = set(TOGETHER.values())

    assert [] == [path for path in (*TOGETHER, *(set(FIRST) - groups)) if not (REPOSITORY / path).exists()]
    assert groups <= set(FIRST)
