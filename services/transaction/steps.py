"""The progress of one transfer: its steps so far, what it waits for, and a sentence for the customer. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from services.contracts.messages import format_time
from services.transaction.transfer import CANCELLED, COMPLETED, FAILURES, PENDING, TIMED_OUT

MONITOR = "monitor"
"""The heartbeat of the monitor."""

SILENT_SECONDS = 5.0
"""A background process whose heartbeat is older is taken to be unavailable."""

SERVICE = "transaction"

WAITING = "waiting"
"""The state of a dead letter that no operator has resolved."""


class Progress(NamedTuple):
    """The steps in time order, the component that has to act next (None when terminal), and the customer's sentence."""

    steps: list[dict[str, Any]]
    waiting_for: str | None
    summary: str


def describe(row: Mapping[str, Any], heartbeats: Mapping[str, Mapping[str, Any]]) -> Progress:
    """The progress of the transfer in `row` (the columns of `find_steps`), given the last heartbeats."""
    attempts = json.loads(row["attempts"])
    waiting_for = _waiting_for(row, attempts, heartbeats)
    return Progress(_steps(row, attempts), waiting_for, _summary(row, waiting_for))


def _steps(row: Mapping[str, Any], attempts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    steps = [_step(format_time(row["created_at"]), "accepted", "the transfer is recorded")]
    queued_at = _queued_at(row, attempts)
    if queued_at is not None:
        steps.append(_step(queued_at, "queued", "the broker confirmed the command"))
    steps += [_picked_up(attempt) for attempt in attempts]
    steps += [step for dead_letter in _dead_letters(row) for step in _dead_letter_steps(dead_letter)]
    if row["status"] == COMPLETED:
        steps.append(_step(format_time(row["completed_at"]), "completed", None))
    elif row["status"] != PENDING:
        steps.append(_step(format_time(row["failed_at"]), "failed", row["failure_code"]))
    return sorted(steps, key=lambda step: step["at"])


def _step(at: str, name: str, detail: str | None) -> dict[str, Any]:
    return {"at": at, "service": SERVICE, "step": name, "detail": detail}


def _picked_up(attempt: Mapping[str, Any]) -> dict[str, Any]:
    again = ", redelivered" if attempt["redelivered"] else ""
    return _step(attempt["picked_up_at"], "picked_up", f"attempt {attempt['number']} by {attempt['worker']}{again}")


def _dead_letters(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(row["dead_letters"])
    return found


def _dead_letter_steps(dead_letter: Mapping[str, Any]) -> list[dict[str, Any]]:
    attempts = f" after attempt {dead_letter['attempts']}" if dead_letter["attempts"] else ""
    moments = (
        (
            "dead_lettered",
            dead_letter["at"],
            f"the command became a dead letter{attempts}; an operator can replay or discard it",
        ),
        ("replayed", dead_letter["replayed_at"], "an operator replayed the command"),
        ("discarded", dead_letter["discarded_at"], "an operator discarded the command, not the transfer"),
    )
    return [_step(_utc(at), name, detail) for name, at, detail in moments if at is not None]


def _utc(text: str) -> str:
    """A time of the database's JSON, which is UTC without an offset."""
    return format_time(datetime.fromisoformat(text).replace(tzinfo=UTC))


def _is_dead_lettered(row: Mapping[str, Any]) -> bool:
    """Whether the command is a dead letter: no worker will carry it out before an operator replays it."""
    return any(dead_letter["state"] == WAITING for dead_letter in _dead_letters(row))


def _queued_at(row: Mapping[str, Any], attempts: list[dict[str, Any]]) -> str | None:
    if row["published_at"] is not None:
        queued: datetime = row["published_at"]
        first_attempt = min((attempt["picked_up_at"] for attempt in attempts), default=None)
        # The mark is written after the confirm; a worker may have received the command before.
        return min(format_time(queued), first_attempt) if first_attempt else format_time(queued)
    return min((attempt["queued_at"] for attempt in attempts), default=None)


def _waiting_for(
    row: Mapping[str, Any], attempts: list[dict[str, Any]], heartbeats: Mapping[str, Mapping[str, Any]]
) -> str | None:
    if row["status"] != PENDING or row["conflicted_at"] is not None:
        return None
    if row["now"] > row["expires_at"] or _is_dead_lettered(row):
        return "reversal"
    if row["in_outbox"] and row["published_at"] is None and not attempts:
        # The others stand by. A relay of the release before does not report `leads`.
        relays = [relay for relay in list_alive(heartbeats, "relay") if relay.get("leads", True)]
        return "broker" if relays and all(relay["failing"] for relay in relays) else "relay"
    workers = list_alive(heartbeats, "worker")
    # A worker that waits for the wallet service takes no new commands from the queue.
    return "wallet" if workers and (attempts or all(worker["wallet_unavailable"] for worker in workers)) else "worker"


def list_alive(heartbeats: Mapping[str, Mapping[str, Any]], role: str) -> list[Mapping[str, Any]]:
    """The states of the processes of a role that have reported recently."""
    return [
        state for state in heartbeats.values() if state.get("role") == role and state["age_seconds"] < SILENT_SECONDS
    ]


def _summary(row: Mapping[str, Any], waiting_for: str | None) -> str:
    if row["status"] == COMPLETED:
        return "The transfer is complete: the money has arrived."
    if row["status"] != PENDING:
        reason = FAILURES.get(row["failure_code"], "The transfer could not be carried out.")
        return reason if row["failure_code"] in (CANCELLED, TIMED_OUT) else f"{reason} No money has moved."
    if row["conflicted_at"] is not None:
        return "Our team is reviewing this transfer. It is safely recorded, and you will not be charged twice."
    by = format_time(row["expires_at"] + timedelta(seconds=30))
    if row["now"] <= row["expires_at"] and _is_dead_lettered(row):
        return (
            f"We could not complete the transfer yet, and our team can retry it. If it is not completed before, it will be "
            f"cancelled by {by} and no money moves. You will not be charged twice."
        )
    return {
        "reversal": "The transfer took too long and is being finalized.",
    }.get(
        waiting_for or "",
        f"Your transfer is safely recorded and in progress. It will be completed or cancelled by {by}. "
        "You will not be charged twice.",
    )
