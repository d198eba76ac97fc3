"""A user's feed: the numbered lines from which live events are served, without gap and in order. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from services.contracts.messages import TransferEvent, format_time
from services.notification import templates
from services.notification.templates import COMPLETED

NOTIFICATION = "notification"

_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class Notification(NamedTuple):
    """A notice as it is recorded."""

    id: UUID
    kind: str
    transfer_id: UUID
    title: str
    body: str
    created_at: datetime
    read_at: datetime | None


class Line(NamedTuple):
    """One thing a user is shown live: its type and its JSON text."""

    user_id: UUID
    type: str
    payload: str


class NumberedLine(NamedTuple):
    """A line and its place in its user's feed, from 1 without a gap."""

    user_id: UUID
    seq: int
    type: str
    payload: str


def viewers(event: TransferEvent) -> list[UUID]:
    """Who may see the transfer: the sender in any state, the recipient once it is completed."""
    recipient_id = event.recipient_id if event.type == COMPLETED else None
    if recipient_id is None or recipient_id == event.sender_id:
        return [event.sender_id]
    return [event.sender_id, recipient_id]


def transfer_lines(event: TransferEvent) -> list[Line]:
    """The transfer as it now is, for each of its viewers; the fields have the names and meaning they have in the API."""
    at = format_time(event.occurred_at)
    completed = event.type == COMPLETED
    payload = _json(
        {
            "id": str(event.transfer_id),
            "kind": event.kind,
            "status": "COMPLETED" if completed else "FAILED",
            "amount": event.amount,
            "currency": event.currency,
            "from_wallet_id": str(event.from_wallet_id),
            "to_wallet_id": str(event.to_wallet_id),
            "description": event.description,
            "completed_at": at if completed else None,
            "failed_at": None if completed else at,
            "failure": None if completed else _failure(event.failure_code),
        }
    )
    return [Line(user_id, event.type, payload) for user_id in viewers(event)]


def notification(recorded: Notification) -> dict[str, Any]:
    """A notification as the API shows it."""
    return {
        "id": str(recorded.id),
        "kind": recorded.kind,
        "transfer_id": str(recorded.transfer_id),
        "title": recorded.title,
        "body": recorded.body,
        "created_at": format_time(recorded.created_at),
        "read_at": format_time(recorded.read_at) if recorded.read_at else None,
    }


def notification_line(user_id: UUID, recorded: Notification) -> Line:
    """The notification for the one it is for."""
    return Line(user_id, NOTIFICATION, _json(notification(recorded)))


def count(lines: Sequence[Line]) -> Counter[UUID]:
    """How many lines each user gets."""
    return Counter(line.user_id for line in lines)


def number(lines: Sequence[Line], last_seqs: Mapping[UUID, int]) -> list[NumberedLine]:
    """Give each user's lines, in the order they come in, the numbers that end at `last_seqs`."""
    used = {user_id: last_seqs[user_id] - lines_count for user_id, lines_count in count(lines).items()}
    numbered = []
    for line in lines:
        used[line.user_id] += 1
        numbered.append(NumberedLine(line.user_id, used[line.user_id], line.type, line.payload))
    return numbered


def _failure(code: str | None) -> dict[str, Any]:
    return {"code": code, "message": templates.reason(code)}
