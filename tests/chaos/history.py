"""What the clients of a run asked, were told and saw: the only thing the judge believes besides the books."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TERMINAL = frozenset({"COMPLETED", "FAILED"})


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request of one intent; times are seconds since the run began, `status` is None when no answer came."""

    sent_at: float
    answered_at: float
    status: int | None
    code: str | None = None
    transfer_id: str | None = None
    replayed: bool = False


@dataclass(slots=True)
class Intent:
    """One payment somebody means to make once, under one key, however often it is sent."""

    key: str
    user_id: str
    kind: str
    """`transfer`, or `deposit` by the operator."""
    source: str | None
    """The wallet it leaves; None: money from outside."""
    destination: str
    amount: int
    attempts: list[Attempt] = field(default_factory=list)
    transfer_id: str | None = None
    refusal: str | None = None

    @property
    def open(self) -> bool:
        """Whether its client still does not know what became of the request."""
        return self.transfer_id is None and self.refusal is None

    @property
    def answered_ids(self) -> set[str]:
        """Every transfer id that an answer to this key named; more than one is a payment made twice."""
        return {attempt.transfer_id for attempt in self.attempts if attempt.transfer_id is not None}


@dataclass(slots=True)
class History:
    """Everything that was observed from outside during a run."""

    intents: list[Intent] = field(default_factory=list)
    terminal: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """The first terminal body that a client saw, by transfer id."""
    contradictions: list[str] = field(default_factory=list)
    """What a client was told that cannot be true together with what it was told before."""
    snapshots: int = 0
    """How often the whole ledger was summed up in one instant while it was under fire."""
    answers: dict[str, int] = field(default_factory=dict)
    """How many requests were answered how, by status; `none` is no answer."""

    def count(self, status: int | None) -> None:
        """Note how one request ended."""
        word = "none" if status is None else str(status)
        self.answers[word] = self.answers.get(word, 0) + 1

    def contradict(self, text: str) -> None:
        """Note something that must never be seen."""
        self.contradictions.append(text)

    def saw(self, body: Mapping[str, Any]) -> None:
        """Compare a transfer's body with the terminal one seen before: that one is for ever."""
        transfer_id = str(body["id"])
        known = self.terminal.get(transfer_id)
        if known is not None:
            if dict(known) != dict(body):
                self.contradict(f"transfer {transfer_id} was {_short(known)} and is now {_short(body)}")
        elif body["status"] in TERMINAL:
            self.terminal[transfer_id] = body


def _short(body: Mapping[str, Any]) -> str:
    failure = body.get("failure")
    return f"{body['status']}{':' + failure['code'] if failure else ''}"
