"""What shares a stack or a broker goes to one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.placement import BROKER, FIRST, TOGETHER, place

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
def test_a_place_is_a_file_or_what_shares(test: str, expected: str) -> None:
    """A file with a stack of its own may go anywhere, though its folder stays together."""
    assert expected == place(test)


def test_what_is_named_is_there() -> None:
    """A file that was moved or removed is not placed any more."""
    places = set(TOGETHER.values())

    assert [] == [path for path in (*TOGETHER, *(set(FIRST) - places)) if not (REPOSITORY / path).exists()]
    assert places <= set(FIRST)
