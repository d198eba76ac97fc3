"""The verdict on a run: what its clients were told, against what the system says when all is quiet. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.history import TERMINAL, History, Intent

LATE_SECONDS = 12.0
"""A request that was given up may still be on its way for so long: every hop's deadline together."""


@dataclass(slots=True)
class View:
    """What the API says at the end: all transfers by id as their sender sees them, and every line of every wallet."""

    transfers: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    statements: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    """Newest first, by wallet."""
    balances: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Verdict:
    """The counts of a run and every violation, each with the transfer it is about."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    contradictory: list[str] = field(default_factory=list)
    unbalanced: list[str] = field(default_factory=list)

    @property
    def violations(self) -> list[str]:
        """All of them."""
        return [*self.lost, *self.doubled, *self.stuck, *self.contradictory, *self.unbalanced]

    @property
    def conserved(self) -> bool:
        """Whether money is where the transfers say, and as much as there was."""
        return not self.unbalanced


def judge(history: History, view: View) -> Verdict:
    """Compare what was told with what is."""
    verdict = Verdict(contradictory=list(history.contradictions))
    for intent in history.intents:
        _judge_intent(intent, view, verdict)
    _judge_sightings(history, view, verdict)
    _judge_strangers(history, view, verdict)
    _judge_lines(view, verdict)
    _judge_balances(view, verdict)
    return verdict


def _judge_intent(intent: Intent, view: View, verdict: Verdict) -> None:
    ids = intent.answered_ids
    if len(ids) > 1:
        verdict.doubled.append(f"key {intent.key} made {len(ids)} transfers: {', '.join(sorted(ids))}")
    for transfer_id in ids:
        _judge_accepted(intent, transfer_id, view, verdict)
    if intent.open:
        verdict.stuck.append(f"key {intent.key}: no answer yet after {len(intent.attempts)} attempts")


def _judge_accepted(intent: Intent, transfer_id: str, view: View, verdict: Verdict) -> None:
    transfer = view.transfers.get(transfer_id)
    if transfer is None:
        verdict.lost.append(f"transfer {transfer_id} was accepted and is not there")
        return
    if transfer["status"] not in TERMINAL:
        verdict.stuck.append(f"transfer {transfer_id} is still {transfer['status']}")
    said = (transfer["amount"], transfer["to_wallet_id"])
    if said != (intent.amount, intent.destination):
        verdict.contradictory.append(f"transfer {transfer_id} is not what was asked for: {said}")


def _judge_sightings(history: History, view: View, verdict: Verdict) -> None:
    """A terminal status that anybody saw is the one it ends with."""
    for transfer_id, seen in history.terminal.items():
        now = view.transfers.get(transfer_id)
        if now is not None and now["status"] != seen["status"]:
            verdict.contradictory.append(f"transfer {transfer_id} was seen {seen['status']} and is {now['status']}")


def _judge_strangers(history: History, view: View, verdict: Verdict) -> None:
    """No transfer without somebody who was told its id; a refusal is final once nothing can be on its way any more."""
    told = {transfer_id for intent in history.intents for transfer_id in intent.answered_ids}
    strangers = Counter(
        (transfer["from_wallet_id"], transfer["to_wallet_id"], transfer["amount"])
        for transfer_id, transfer in view.transfers.items()
        if transfer_id not in told and transfer["kind"] == "transfer"
    )
    for intent in history.intents:
        if intent.refusal is not None and _may_come_late(intent):
            strangers[intent.source, intent.destination, intent.amount] -= 1
    for (source, destination, amount), count in strangers.items():
        if count > 0:
            verdict.doubled.append(f"{count} transfers of {amount} from {source} to {destination} that nobody made")


def _may_come_late(intent: Intent) -> bool:
    """Whether an unanswered request of it could still arrive after the refusal that its client believed."""
    refused_at = intent.attempts[-1].answered_at
    return any(a.status is None and a.sent_at > refused_at - LATE_SECONDS for a in intent.attempts[:-1])


def _judge_lines(view: View, verdict: Verdict) -> None:
    """Each COMPLETED transfer stands once in each wallet it concerns, with the right sign; nothing else stands there."""
    lines = {
        wallet: Counter(line["transfer_id"] for line in statement) for wallet, statement in view.statements.items()
    }
    for transfer_id, transfer in view.transfers.items():
        expected = 1 if transfer["status"] == "COMPLETED" else 0
        for wallet in (transfer["from_wallet_id"], transfer["to_wallet_id"]):
            if wallet not in lines:
                continue
            found = lines[wallet].pop(transfer_id, 0)
            if found > expected:
                verdict.doubled.append(
                    f"transfer {transfer_id} is {transfer['status']} and stands {found} times in wallet {wallet}"
                )
            elif found < expected:
                verdict.lost.append(f"transfer {transfer_id} is COMPLETED and does not stand in wallet {wallet}")
    for wallet, rest in lines.items():
        verdict.doubled.extend(f"wallet {wallet} has a line of unknown transfer {transfer_id}" for transfer_id in rest)


def _judge_balances(view: View, verdict: Verdict) -> None:
    for wallet, statement in view.statements.items():
        verdict.unbalanced.extend(f"wallet {wallet}: {fault}" for fault in _broken(statement))
        total = sum(line["amount"] for line in statement)
        if view.balances[wallet] != total:
            verdict.unbalanced.append(f"wallet {wallet} holds {view.balances[wallet]}, its lines sum to {total}")


def _broken(statement: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What is wrong with a statement by itself: gaps, sums, an overdraft at any line."""
    balance, last = 0, 0
    for line in reversed(statement):
        balance += line["amount"]
        if line["seq"] != last + 1:
            yield f"line {line['seq']} follows line {last}"
        if line["balance_after"] != balance:
            yield f"line {line['seq']} says {line['balance_after']}, the sum is {balance}"
        if balance < 0:
            yield f"overdrawn at line {line['seq']}"
        last = line["seq"]
