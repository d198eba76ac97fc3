"""The judge of a chaos run: each way to lose, double or contradict is named; an honest run is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.history import Attempt, History, Intent
from tests.chaos.judge import LATE_SECONDS, Verdict, View, judge

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


def an_honest_run() -> tuple[History, View]:
    """A deposit of 100, a transfer of 5 that was posted, one of 5 that was not."""
    funds = Intent("key-d", "operator", "deposit", None, ALICE, 100, [Attempt(0, 0.1, 202, None, "d")], "d")
    history = History(intents=[funds, intent("t1"), intent("t2"), intent(None, refusal="insufficient_funds")])
    view = View(
        transfers={"d": deposit(), "t1": transfer("t1"), "t2": transfer("t2", "FAILED")},
        statements={ALICE: [line(2, "t1", -5, 95), line(1, "d", 100, 100)], BOB: [line(1, "t1", 5, 5)]},
        balances={ALICE: 95, BOB: 5},
    )
    for body in view.transfers.values():
        history.saw(body)
    return history, view


def test_an_honest_run_passes() -> None:
    """What was told and what is agree: no violation."""
    assert [] == judge(*an_honest_run()).violations


def lost(_history: History, view: View) -> None:
    del view.transfers["t2"]


def not_booked(_history: History, view: View) -> None:
    view.statements[BOB].clear()
    view.balances[BOB] = 0


def stuck(_history: History, view: View) -> None:
    view.transfers["t2"] = transfer("t2", "PENDING")


def never_answered(history: History, _view: View) -> None:
    history.intents.append(intent(None))
    history.intents[-1].attempts = [Attempt(1, 2, None)]


def two_transfers_for_a_key(history: History, view: View) -> None:
    history.intents[1].attempts.append(Attempt(2, 2.1, 202, None, "t9"))
    view.transfers["t9"] = transfer("t9", "FAILED")


def booked_twice(_history: History, view: View) -> None:
    view.statements[BOB].insert(0, line(2, "t1", 5, 10))
    view.balances[BOB] = 10


def failed_and_moved(_history: History, view: View) -> None:
    view.statements[ALICE].insert(0, line(3, "t2", -5, 90))
    view.balances[ALICE] = 90


def a_transfer_nobody_made(_history: History, view: View) -> None:
    view.transfers["t9"] = transfer("t9", "FAILED", amount=7)


def a_line_of_nothing(_history: History, view: View) -> None:
    view.statements[BOB].insert(0, line(2, "ghost", 5, 10))
    view.balances[BOB] = 10


def another_amount(_history: History, view: View) -> None:
    view.transfers["t2"]["amount"] = 6


def changed_its_mind(history: History, view: View) -> None:
    view.transfers["t2"] = transfer("t2")
    history.terminal["t2"] = transfer("t2", "FAILED")


def a_gap(_history: History, view: View) -> None:
    view.statements[ALICE][0]["seq"] = 3


def overdrawn(_history: History, view: View) -> None:
    view.statements[ALICE] = [line(2, "d", 100, 95), line(1, "t1", -5, -5)]


def another_balance(_history: History, view: View) -> None:
    view.balances[BOB] = 6


@pytest.mark.parametrize(
    ("break_it", "kind"),
    [
        (lost, "lost"),
        (not_booked, "lost"),
        (stuck, "stuck"),
        (never_answered, "stuck"),
        (two_transfers_for_a_key, "doubled"),
        (booked_twice, "doubled"),
        (failed_and_moved, "doubled"),
        (a_transfer_nobody_made, "doubled"),
        (a_line_of_nothing, "doubled"),
        (another_amount, "contradictory"),
        (changed_its_mind, "contradictory"),
        (a_gap, "unbalanced"),
        (overdrawn, "unbalanced"),
        (another_balance, "unbalanced"),
    ],
)
def test_what_is_wrong_is_named(break_it: Callable[[History, View], None], kind: str) -> None:
    """Each fault of the money is a violation of its kind."""
    history, view = an_honest_run()
    break_it(history, view)

    verdict: Verdict = judge(history, view)

    assert getattr(verdict, kind)
    assert verdict.violations


def test_a_terminal_body_that_changes_is_a_contradiction() -> None:
    """A client that saw an outcome never sees another, nor anything else of the body changed."""
    history = History()
    history.saw(transfer("t1", "FAILED"))
    history.saw(transfer("t1", "FAILED"))
    assert [] == history.contradictions

    history.saw(transfer("t1"))

    assert ["transfer t1 was FAILED:timed_out and is now COMPLETED"] == history.contradictions


def test_a_refusal_may_be_overtaken_only_while_a_request_is_on_its_way() -> None:
    """A transfer that nobody was told of is excused by a refused key only if an unanswered request could still arrive."""
    history, view = an_honest_run()
    view.transfers["t9"] = transfer("t9", "FAILED")
    refused = intent(None, refusal="insufficient_funds")
    refused.attempts = [Attempt(1.0, 2.0, None), Attempt(3.0, 3.1, 422)]
    history.intents.append(refused)
    assert [] == judge(history, view).violations

    refused.attempts[1] = Attempt(3.0 + LATE_SECONDS, 3.1 + LATE_SECONDS, 422)

    assert 1 == len(judge(history, view).doubled)
