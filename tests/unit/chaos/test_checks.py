"""The checks of a chaos run: they report every lost, doubled or contradictory transfer, and nothing in a correct run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.checks import LATE_SECONDS, FinalState, Verdict, evaluate
from tests.chaos.history import Attempt, History, Intent

ALICE, BOB = "wallet-alice", "wallet-bob"


def transfer(id_: str, status: str = "COMPLETED", amount: int = 5) -> dict[str, Any]:
    failure = {"code": "timed_out"} if status == "FAILED" else None
    return {
        "id": id_,
        "kind": "transfer",
        "status": status,
        "amount": amount,
        "from_wallet_id": ALICE,
        "to_wallet_id": BOB,
        "failure": failure,
    }


def deposit() -> dict[str, Any]:
    return transfer("d", amount=100) | {"kind": "deposit", "from_wallet_id": "outside", "to_wallet_id": ALICE}


def line(seq: int, id_: str, amount: int, after: int) -> dict[str, Any]:
    return {"seq": seq, "transfer_id": id_, "amount": amount, "balance_after": after}


def intent(id_: str | None, *, amount: int = 5, refusal: str | None = None) -> Intent:
    attempt = Attempt(1.0, 1.1, 202 if id_ else 422, refusal, id_)
    made = Intent(f"key-{id_}", "alice", "transfer", ALICE, BOB, amount, [attempt], id_)
    made.refusal = refusal
    return made


def a_correct_run() -> tuple[History, FinalState]:
    """A deposit of 100, a transfer of 5 that was posted, one of 5 that was not."""
    funds = Intent("key-d", "operator", "deposit", None, ALICE, 100, [Attempt(0, 0.1, 202, None, "d")], "d")
    history = History(intents=[funds, intent("t1"), intent("t2"), intent(None, refusal="insufficient_funds")])
    state = FinalState(
        transfers={"d": deposit(), "t1": transfer("t1"), "t2": transfer("t2", "FAILED")},
        statements={ALICE: [line(2, "t1", -5, 95), line(1, "d", 100, 100)], BOB: [line(1, "t1", 5, 5)]},
        balances={ALICE: 95, BOB: 5},
    )
    for body in state.transfers.values():
        history.record_body(body)
    return history, state


def test_a_correct_run_passes() -> None:
    """A run whose responses match the final state has no violations."""
    assert [] == evaluate(*a_correct_run()).violations


def lost(_history: History, state: FinalState) -> None:
    del state.transfers["t2"]


def not_booked(_history: History, state: FinalState) -> None:
    state.statements[BOB].clear()
    state.balances[BOB] = 0


def stuck(_history: History, state: FinalState) -> None:
    state.transfers["t2"] = transfer("t2", "PENDING")


def never_resolved(history: History, _state: FinalState) -> None:
    history.intents.append(intent(None))
    history.intents[-1].attempts = [Attempt(1, 2, None)]


def two_transfers_for_a_key(history: History, state: FinalState) -> None:
    history.intents[1].attempts.append(Attempt(2, 2.1, 202, None, "t9"))
    state.transfers["t9"] = transfer("t9", "FAILED")


def booked_twice(_history: History, state: FinalState) -> None:
    state.statements[BOB].insert(0, line(2, "t1", 5, 10))
    state.balances[BOB] = 10


def failed_and_moved(_history: History, state: FinalState) -> None:
    state.statements[ALICE].insert(0, line(3, "t2", -5, 90))
    state.balances[ALICE] = 90


def a_transfer_without_a_request(_history: History, state: FinalState) -> None:
    state.transfers["t9"] = transfer("t9", "FAILED", amount=7)


def a_line_of_an_unknown_transfer(_history: History, state: FinalState) -> None:
    state.statements[BOB].insert(0, line(2, "unknown", 5, 10))
    state.balances[BOB] = 10


def another_amount(_history: History, state: FinalState) -> None:
    state.transfers["t2"]["amount"] = 6


def a_changed_status(history: History, state: FinalState) -> None:
    state.transfers["t2"] = transfer("t2")
    history.terminal["t2"] = transfer("t2", "FAILED")


def a_gap(_history: History, state: FinalState) -> None:
    state.statements[ALICE][0]["seq"] = 3


def overdrawn(_history: History, state: FinalState) -> None:
    state.statements[ALICE] = [line(2, "d", 100, 95), line(1, "t1", -5, -5)]


def another_balance(_history: History, state: FinalState) -> None:
    state.balances[BOB] = 6


@pytest.mark.parametrize(
    ("break_it", "kind"),
    [
        (lost, "lost"),
        (not_booked, "lost"),
        (stuck, "stuck"),
        (never_resolved, "stuck"),
        (two_transfers_for_a_key, "doubled"),
        (booked_twice, "doubled"),
        (failed_and_moved, "doubled"),
        (a_transfer_without_a_request, "doubled"),
        (a_line_of_an_unknown_transfer, "doubled"),
        (another_amount, "contradictory"),
        (a_changed_status, "contradictory"),
        (a_gap, "unbalanced"),
        (overdrawn, "unbalanced"),
        (another_balance, "unbalanced"),
    ],
)
def test_each_fault_is_reported_by_kind(break_it: Callable[[History, FinalState], None], kind: str) -> None:
    """Each fault is reported as a violation of its kind."""
    history, state = a_correct_run()
    break_it(history, state)

    verdict: Verdict = evaluate(history, state)

    assert getattr(verdict, kind)
    assert verdict.violations


def test_a_terminal_body_that_changes_is_a_contradiction() -> None:
    """A terminal body must never change, neither its status nor any other field."""
    history = History()
    history.record_body(transfer("t1", "FAILED"))
    history.record_body(transfer("t1", "FAILED"))
    assert [] == history.contradictions

    history.record_body(transfer("t1"))

    assert ["transfer t1 was FAILED:timed_out and is now COMPLETED"] == history.contradictions


def test_a_late_transfer_is_allowed_only_while_a_request_is_in_flight() -> None:
    """A transfer unknown to its client is allowed after a refusal only if an earlier attempt could still arrive."""
    history, state = a_correct_run()
    state.transfers["t9"] = transfer("t9", "FAILED")
    refused = intent(None, refusal="insufficient_funds")
    refused.attempts = [Attempt(1.0, 2.0, None), Attempt(3.0, 3.1, 422)]
    history.intents.append(refused)
    assert [] == evaluate(history, state).violations

    refused.attempts[1] = Attempt(3.0 + LATE_SECONDS, 3.1 + LATE_SECONDS, 422)

    assert 1 == len(evaluate(history, state).doubled)
