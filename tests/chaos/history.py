"""What the clients of a run sent and received: besides the databases, the only input of the checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

TERMINAL = frozenset({"COMPLETED", "FAILED"})


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request of an intent; times are seconds since the run began, `status` is None without a response."""

    sent_at: float
    finished_at: float
    status: int | None
    code: str | None = None
    transfer_id: str | None = None
    replayed: bool = False


@dataclass(slots=True)
class Intent:
    """One payment that a client wants to make once, under one key, however often it is sent."""

    key: str
    user_id: str
    kind: str
    """`transfer`, or `deposit` by the operator."""
    source: str | None
    """The wallet it is paid from; None for a deposit."""
    destination: str
    amount: int
    attempts: list[Attempt] = field(default_factory=list)
    transfer_id: str | None = None
    refusal: str | None = None

    @property
    def open(self) -> bool:
        """Whether the outcome of the request is still unknown to its client."""
        return self.transfer_id is None and self.refusal is None

    @property
    def accepted_ids(self) -> set[str]:
        """Every transfer id that a response to this key named; more than one means a doubled payment."""
        return {attempt.transfer_id for attempt in self.attempts if attempt.transfer_id is not None}


@dataclass(slots=True)
class History:
    """Everything that was observed through the API during a run."""

    intents: list[Intent] = field(default_factory=list)
    terminal: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """The first terminal body that a client saw, by transfer id."""
    contradictions: list[str] = field(default_factory=list)
    """Responses that cannot be true together."""
    snapshots: int = 0
    """How often the ledger was summed in one snapshot during the faults."""
    responses: dict[str, int] = field(default_factory=dict)
    """Number of responses by status; `none` is no response."""

    def longest_gap(self, start: float, end: float) -> float:
        """The longest time between two moments of the run, in seconds, in which no new payment was accepted."""
        accepted = sorted(
            attempt.finished_at
            for intent in self.intents
            for attempt in intent.attempts
            if attempt.transfer_id is not None and not attempt.replayed and start <= attempt.finished_at <= end
        )
        moments = [start, *accepted, end]
        return max(later - earlier for earlier, later in pairwise(moments))

    def count(self, status: int | None) -> None:
        """Count one response."""
        word = "none" if status is None else str(status)
        self.responses[word] = self.responses.get(word, 0) + 1

    def add_contradiction(self, text: str) -> None:
        """Record an observation that must never occur."""
        self.contradictions.append(text)

    def record_body(self, body: Mapping[str, Any]) -> None:
        """Compare a transfer's body with the terminal body seen before, which must never change."""
        transfer_id = str(body["id"])
        known = self.terminal.get(transfer_id)
        if known is not None:
            if dict(known) != dict(body):
                self.add_contradiction(f"transfer {transfer_id} was {_short(known)} and is now {_short(body)}")
        elif body["status"] in TERMINAL:
            self.terminal[transfer_id] = body


def _short(body: Mapping[str, Any]) -> str:
    failure = body.get("failure")
    return f"{body['status']}{':' + failure['code'] if failure else ''}"
