from __future__ import annotations

from dataclasses import replace

import pytest

from deploy.local.demo import AMOUNT_MINOR, Observation, find_faults, money

GOOD = Observation(
    transfer={"id": "t", "status": "COMPLETED"},
    alice_before=100_000,
    alice_after=98_750,
    bob_before=100_000,
    bob_after=101_250,
    debits=[-1_250],
    credits=[1_250],
    proof={"ok": True, "checks": []},
)


def test_money_that_moved_once_is_no_fault() -> None:
    """The expected observation passes."""
    assert find_faults(GOOD) == []


@pytest.mark.parametrize(
    "seen",
    [
        replace(GOOD, transfer={"id": "t", "status": "FAILED"}),
        replace(GOOD, alice_after=GOOD.alice_before),
        replace(GOOD, alice_after=GOOD.alice_before - 2 * AMOUNT_MINOR),
        replace(GOOD, bob_after=GOOD.bob_before + 2 * AMOUNT_MINOR),
        replace(GOOD, debits=[]),
        replace(GOOD, debits=[-1_250, -1_250]),
        replace(GOOD, credits=[1_250, 1_250]),
        replace(GOOD, credits=[1_249]),
        replace(GOOD, proof={"ok": False, "checks": []}),
    ],
)
def test_anything_else_is_a_fault(seen: Observation) -> None:
    """Each single deviation makes the demo fail."""
    assert len(find_faults(seen)) == 1


@pytest.mark.parametrize(
    ("amount_minor", "text"),
    [(0, "0.00 USD"), (5, "0.05 USD"), (-1250, "-12.50 USD"), (100_000_000, "1,000,000.00 USD")],
)
def test_money_is_written_without_floats(amount_minor: int, text: str) -> None:
    """Sign, thousands and cents are right."""
    assert money(amount_minor) == text
