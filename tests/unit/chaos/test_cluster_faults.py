"""The faults of clusters, and the gaps that they leave."""

from __future__ import annotations

from tests.chaos.cluster_faults import ACTIONS, KINDS
from tests.chaos.history import Attempt, History, Intent


def test_every_fault_has_an_action() -> None:
    """No kind without an action, and no action that is never chosen."""
    assert {(kind.component, kind.fault) for kind in KINDS} == set(ACTIONS)


def accepted(*moments: float, replayed: bool = False) -> Intent:
    intent = Intent("key", "user", "transfer", "a", "b", 1)
    intent.attempts = [Attempt(at - 0.1, at, 202, transfer_id="t", replayed=replayed) for at in moments]
    return intent


def test_longest_gap() -> None:
    """The longest time without a new acceptance, at the ends of the interval, too; a replay is no acceptance."""
    history = History([accepted(1, 2, 9), accepted(5, replayed=True)])

    assert history.longest_gap(0, 10) == 7
    assert history.longest_gap(2, 5) == 3
    assert history.longest_gap(9, 30) == 21
    assert History().longest_gap(1, 4) == 3
