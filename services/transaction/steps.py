"""The way of one transfer, pure: what happened so far, what it waits for, and a sentence fit for the customer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from services.contracts.messages import format_time
from services.transaction.transfer import CANCELLED, COMPLETED, FAILURES, PENDING, TIMED_OUT

MONITOR = "monitor"
"""The name under which the monitor says what it measured."""

SILENT_SECONDS = 5.0
"""A background process that has not been heard of for this long is taken to be away."""

SERVICE = "transaction"

WAITING = "waiting"
"""The state of a dead letter that nobody has dealt with."""


class Way(NamedTuple):
    """The steps in time order, who has to act next (None when terminal), and the customer's sentence."""

    steps: list[dict[str, Any]]
    waiting_for: str | None
    summary: str


def describe(row: Mapping[str, Any], heartbeats: Mapping[str, Mapping[str, Any]]) -> Way:
    """The way of the transfer in `row` (the columns of `find_steps`), given what the background processes last said."""
    attempts = json.loads(row["attempts"])
    waiting_for = _waiting_for(row, attempts, heartbeats)
    return Way(_steps(row, attempts), waiting_for, _summary(row, waiting_for))


def _steps(row: Mapping[str, Any], attempts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    steps = [_step(format_time(row["created_at"]), "accepted", "recorded before anything was tried")]
    queued_at = _queued_at(row, attempts)
    if queued_at is not None:
        steps.append(_step(queued_at, "queued", "the broker has confirmed it"))
    steps += [_picked_up(attempt) for attempt in attempts]
    steps += [step for letter in _dead_letters(row) for step in _set_aside(letter)]
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
    letters: list[dict[str, Any]] = json.loads(row["dead_letters"])
    return letters


def _set_aside(letter: Mapping[str, Any]) -> list[dict[str, Any]]:
    tries = f" after attempt {letter['attempts']}" if letter["attempts"] else ""
    moments = (
        ("dead_lettered", letter["at"], f"its command was set aside{tries}, for a person to look at"),
        ("replayed", letter["replayed_at"], "an operator put its command back into the queue"),
        ("discarded", letter["discarded_at"], "an operator discarded the command that was set aside, not the transfer"),
    )
    return [_step(_utc(at), name, detail) for name, at, detail in moments if at is not None]


def _utc(text: str) -> str:
    """A time as the database writes it into JSON, in UTC and without saying so."""
    return format_time(datetime.fromisoformat(text).replace(tzinfo=UTC))


def _is_set_aside(row: Mapping[str, Any]) -> bool:
    """Whether its command waits for a person: nobody else will carry it out."""
    return any(letter["state"] == WAITING for letter in _dead_letters(row))


def _queued_at(row: Mapping[str, Any], attempts: list[dict[str, Any]]) -> str | None:
    if row["published_at"] is not None:
        queued: datetime = row["published_at"]
        first_attempt = min((attempt["picked_up_at"] for attempt in attempts), default=None)
        # The mark is written after the confirm; a quick worker may have had it by then.
        return min(format_time(queued), first_attempt) if first_attempt else format_time(queued)
    return min((attempt["queued_at"] for attempt in attempts), default=None)


def _waiting_for(
    row: Mapping[str, Any], attempts: list[dict[str, Any]], heartbeats: Mapping[str, Mapping[str, Any]]
) -> str | None:
    if row["status"] != PENDING or row["conflicted_at"] is not None:
        return None
    if row["now"] > row["expires_at"] or _is_set_aside(row):
        return "reversal"
    if row["in_outbox"] and row["published_at"] is None and not attempts:
        relays = _alive(heartbeats, "relay")
        return "broker" if relays and all(relay["failing"] for relay in relays) else "relay"
    workers = _alive(heartbeats, "worker")
    # A worker that waits for the wallet takes nothing new from the queue either.
    return "wallet" if workers and (attempts or all(worker["wallet_unavailable"] for worker in workers)) else "worker"


def _alive(heartbeats: Mapping[str, Mapping[str, Any]], role: str) -> list[Mapping[str, Any]]:
    return [beat for beat in heartbeats.values() if beat.get("role") == role and beat["age_seconds"] < SILENT_SECONDS]


def _summary(row: Mapping[str, Any], waiting_for: str | None) -> str:
    if row["status"] == COMPLETED:
        return "The transfer is complete: the money has arrived."
    if row["status"] != PENDING:
        reason = FAILURES.get(row["failure_code"], "The transfer could not be carried out.")
        return reason if row["failure_code"] in (CANCELLED, TIMED_OUT) else f"{reason} No money has moved."
    if row["conflicted_at"] is not None:
        return "We are looking into this transfer by hand. It is on record, and you will not be charged twice."
    by = format_time(row["expires_at"] + timedelta(seconds=30))
    if row["now"] <= row["expires_at"] and _is_set_aside(row):
        return (
            f"We could not carry out the transfer yet, and a person can look into it. Unless it is done before, it will be "
            f"cancelled by {by}, and no money moves. You will not be charged twice."
        )
    return {
        "reversal": "The transfer took too long and is being finalized; it will not stay open.",
    }.get(
        waiting_for or "",
        f"We have your transfer safely on record and it is being worked on. It will be done, or cancelled, by {by}. "
        "You will not be charged twice.",
    )
