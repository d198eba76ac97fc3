"""The verdict on a run: the responses its clients received, compared with the final state of the system. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.history import TERMINAL, History, Intent

LATE_SECONDS = 12.0
"""An abandoned request may still be in flight for this long: the sum of the deadlines of all hops."""


@dataclass(slots=True)
class FinalState:
    """What the API returns at the end: all transfers by id as their sender sees them, and every line of every wallet."""

    transfers: dict[str, dict[str, Any]] = field(default_factory=dict)
    statements: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Newest first, by wallet."""
    balances: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Verdict:
    """The violations of a run by kind, each with its transfer id."""

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
        """Whether every balance matches the transfers and no money was created or destroyed."""
        return not self.unbalanced


def evaluate(history: History, state: FinalState) -> Verdict:
    """Compare the responses with the final state."""
    verdict = Verdict(contradictory=list(history.contradictions))
    for intent in history.intents:
        _check_intent(intent, state, verdict)
    _check_terminal(history, state, verdict)
    _check_unknown_transfers(history, state, verdict)
    _check_lines(state, verdict)
    _check_balances(state, verdict)
    return verdict


def _check_intent(intent: Intent, state: FinalState, verdict: Verdict) -> None:
    ids = intent.accepted_ids
    if len(ids) > 1:
        verdict.doubled.append(f"key {intent.key} made {len(ids)} transfers: {', '.join(sorted(ids))}")
    for transfer_id in ids:
        _check_accepted(intent, transfer_id, state, verdict)
    if intent.open:
        verdict.stuck.append(f"key {intent.key}: no response after {len(intent.attempts)} attempts")


def _check_accepted(intent: Intent, transfer_id: str, state: FinalState, verdict: Verdict) -> None:
    transfer = state.transfers.get(transfer_id)
    if transfer is None:
        verdict.lost.append(f"transfer {transfer_id} was accepted but does not exist")
        return
    if transfer["status"] not in TERMINAL:
        verdict.stuck.append(f"transfer {transfer_id} is still {transfer['status']}")
    recorded = (transfer["amount"], transfer["to_wallet_id"])
    if recorded != (intent.amount, intent.destination):
        verdict.contradictory.append(f"transfer {transfer_id} differs from the request: {recorded}")


def _check_terminal(history: History, state: FinalState, verdict: Verdict) -> None:
    """A terminal status that a client has seen must be the final status."""
    for transfer_id, seen in history.terminal.items():
        now = state.transfers.get(transfer_id)
        if now is not None and now["status"] != seen["status"]:
            verdict.contradictory.append(f"transfer {transfer_id} was seen {seen['status']} and is {now['status']}")


def _check_unknown_transfers(history: History, state: FinalState, verdict: Verdict) -> None:
    """Every transfer must belong to a response; a refused request may only arrive late while it can still be in flight."""
    named = {transfer_id for intent in history.intents for transfer_id in intent.accepted_ids}
    unknown = Counter(
        (transfer["from_wallet_id"], transfer["to_wallet_id"], transfer["amount"])
        for transfer_id, transfer in state.transfers.items()
        if transfer_id not in named and transfer["kind"] == "transfer"
    )
    for intent in history.intents:
        if intent.refusal is not None and _may_come_late(intent):
            unknown[intent.source, intent.destination, intent.amount] -= 1
    for (source, destination, amount), count in unknown.items():
        if count > 0:
            verdict.doubled.append(f"{count} transfers of {amount} from {source} to {destination} without a request")


def _may_come_late(intent: Intent) -> bool:
    """Whether an earlier attempt without a response could still arrive after the refusal."""
    refused_at = intent.attempts[-1].finished_at
    return any(a.status is None and a.sent_at > refused_at - LATE_SECONDS for a in intent.attempts[:-1])


def _check_lines(state: FinalState, verdict: Verdict) -> None:
    """A COMPLETED transfer must appear once, with the right sign, in the statement of each of its wallets; nothing else may."""
    lines = {
        wallet: Counter(line["transfer_id"] for line in statement) for wallet, statement in state.statements.items()
    }
    for transfer_id, transfer in state.transfers.items():
        expected = 1 if transfer["status"] == "COMPLETED" else 0
        for wallet in (transfer["from_wallet_id"], transfer["to_wallet_id"]):
            if wallet not in lines:
                continue
            found = lines[wallet].pop(transfer_id, 0)
            if found > expected:
                verdict.doubled.append(
                    f"transfer {transfer_id} is {transfer['status']} and appears {found} times in wallet {wallet}"
                )
            elif found < expected:
                verdict.lost.append(f"transfer {transfer_id} is COMPLETED but missing in wallet {wallet}")
    for wallet, rest in lines.items():
        verdict.doubled.extend(f"wallet {wallet} has a line of unknown transfer {transfer_id}" for transfer_id in rest)


def _check_balances(state: FinalState, verdict: Verdict) -> None:
    for wallet, statement in state.statements.items():
        verdict.unbalanced.extend(f"wallet {wallet}: {fault}" for fault in _inconsistencies(statement))
        total = sum(line["amount"] for line in statement)
        if state.balances[wallet] != total:
            verdict.unbalanced.append(f"wallet {wallet} has balance {state.balances[wallet]}, its lines sum to {total}")


def _inconsistencies(statement: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What is inconsistent within a statement: gaps, sums, an overdraft at any line."""
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
