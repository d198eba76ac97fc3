"""Merging the steps of three services."""

from __future__ import annotations

import random
from typing import Any

import pytest

from services.gateway.api.timeline import ORDER, merge

ALICE, BOB = "alice", "bob"


def _at(second: float) -> str:
    return f"2026-01-01T00:00:{second:09.6f}Z"


def _step(name: str, second: float) -> dict[str, Any]:
    return {"at": _at(second), "service": "transaction", "step": name, "detail": None}


def _known(*steps: dict[str, Any], status: str = "COMPLETED", waiting_for: str | None = None) -> dict[str, Any]:
    return {
        "transfer": {"id": "t-1", "status": status},
        "steps": list(steps),
        "waiting_for": waiting_for,
        "summary": "All is well.",
    }


def _outcome(outcome: str, second: float, reason: str | None = None) -> dict[str, Any]:
    return {"transfer_id": "t-1", "outcome": outcome, "reason": reason, "at": _at(second)}


NOTIFICATIONS = [
    {"at": _at(6), "user_id": ALICE, "kind": "transfer_completed"},
    {"at": _at(6), "user_id": BOB, "kind": "transfer_received"},
]


def _names(timeline: dict[str, Any]) -> list[str]:
    return [step["step"] for step in timeline["steps"]]


def test_every_hop_is_shown_in_order() -> None:
    """A completed transfer shows each hop once, in order of time; steps of the same instant in their defined order."""
    known = _known(_step("completed", 4), _step("picked_up", 3), _step("accepted", 1), _step("queued", 2))

    timeline = merge(known, outcome=_outcome("posted", 4), notifications=NOTIFICATIONS, viewer=ALICE, unavailable=[])

    assert ["accepted", "queued", "picked_up", "posted", "completed", "notified"] == _names(timeline)
    assert {
        "transfer_id": "t-1", "status": "COMPLETED", "waiting_for": None, "summary": "All is well.", "unavailable": [],
        "as_of": None,
    } == {name: value for name, value in timeline.items() if name != "steps"}  # fmt: skip


def test_order_is_independent_of_arrival() -> None:
    """The order is the same, however the steps arrive."""
    steps = [_step(name, second) for second, name in enumerate(ORDER)]
    for seed in range(20):
        mixed = random.Random(seed).sample(steps, len(steps))
        timeline = merge(_known(*mixed), outcome=None, notifications=[], viewer=None, unavailable=[])
        assert list(ORDER) == _names(timeline)


def test_each_attempt_is_shown() -> None:
    """Attempts are steps of their own."""
    known = _known(
        _step("picked_up", 2), _step("picked_up", 9), _step("accepted", 1), status="PENDING", waiting_for="wallet"
    )

    timeline = merge(known, outcome=None, notifications=[], viewer=ALICE, unavailable=["wallet"])

    assert ["accepted", "picked_up", "picked_up"] == _names(timeline)
    assert ("wallet", ["wallet"]) == (timeline["waiting_for"], timeline["unavailable"])


@pytest.mark.parametrize(
    ("outcome", "reason"), [("rejected", "insufficient_funds"), ("voided", "timed_out"), ("posted", None)]
)
def test_the_outcome_is_a_step(outcome: str, reason: str | None) -> None:
    """The outcome is the wallet's step, with its reason."""
    timeline = merge(_known(), outcome=_outcome(outcome, 3, reason), notifications=[], viewer=ALICE, unavailable=[])

    assert [{"at": _at(3), "service": "wallet", "step": outcome, "detail": reason}] == timeline["steps"]


def test_viewers_see_their_own_notifications_only() -> None:
    """A user sees only own notifications; an operator sees all recipients."""
    alice = merge(_known(), outcome=None, notifications=NOTIFICATIONS, viewer=ALICE, unavailable=[])
    other = merge(_known(), outcome=None, notifications=NOTIFICATIONS, viewer="carol", unavailable=[])
    operator = merge(_known(), outcome=None, notifications=NOTIFICATIONS, viewer=None, unavailable=[])

    assert ["transfer_completed"] == [step["detail"] for step in alice["steps"]]
    assert [] == other["steps"]
    assert ["transfer_completed to alice", "transfer_received to bob"] == [step["detail"] for step in operator["steps"]]
    assert BOB not in str(alice)


def test_unavailable_services_are_sorted() -> None:
    """The list is sorted, however it was collected."""
    timeline = merge(_known(), outcome=None, notifications=[], viewer=ALICE, unavailable=["wallet", "notification"])
    assert ["notification", "wallet"] == timeline["unavailable"]
