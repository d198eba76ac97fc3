"""A user's feed: numbered lines, without gaps and in order, from which live events are served. Pure."""

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
PENDING = "transfer.pending"

_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class PendingTransfer(NamedTuple):
    """A transfer as it was accepted."""

    transfer_id: UUID
    kind: str
    amount: int
    currency: str
    from_wallet_id: UUID
    to_wallet_id: UUID
    sender_id: UUID
    description: str | None


class Notification(NamedTuple):
    """A notification as recorded."""

    id: UUID
    kind: str
    transfer_id: UUID
    title: str
    body: str
    created_at: datetime
    read_at: datetime | None


class Line(NamedTuple):
    """An event for one user: its type and its JSON text."""

    user_id: UUID
    type: str
    payload: str


class NumberedLine(NamedTuple):
    """A line and its number in the user's feed, from 1 without gaps."""

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


def pending(event: TransferEvent) -> PendingTransfer:
    """The transfer of an outcome as it was accepted."""
    return PendingTransfer(
        transfer_id=event.transfer_id,
        kind=event.kind,
        amount=event.amount,
        currency=event.currency,
        from_wallet_id=event.from_wallet_id,
        to_wallet_id=event.to_wallet_id,
        sender_id=event.sender_id,
        description=event.description,
    )


def pending_line(transfer: PendingTransfer) -> Line:
    """The transfer as it was accepted, for its sender; the recipient sees it only when it is completed."""
    payload = _transfer(transfer, "PENDING", completed_at=None, failed_at=None, failure=None)
    return Line(transfer.sender_id, PENDING, payload)


def transfer_lines(event: TransferEvent) -> list[Line]:
    """The transfer with its outcome, for each of its viewers. The fields are those of the public API."""
    at = format_time(event.occurred_at)
    if event.type == COMPLETED:
        payload = _transfer(pending(event), "COMPLETED", completed_at=at, failed_at=None, failure=None)
    else:
        failure = _failure(event.failure_code)
        payload = _transfer(pending(event), "FAILED", completed_at=None, failed_at=at, failure=failure)
    return [Line(user_id, event.type, payload) for user_id in viewers(event)]


def notification(recorded: Notification) -> dict[str, Any]:
    """A notification as the public API shows it."""
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
    """The line of a notification, for its user."""
    return Line(user_id, NOTIFICATION, _json(notification(recorded)))


def count(lines: Sequence[Line]) -> Counter[UUID]:
    """The number of lines of each user."""
    return Counter(line.user_id for line in lines)


def number(lines: Sequence[Line], last_seqs: Mapping[UUID, int]) -> list[NumberedLine]:
    """Number each user's lines, in their order; the last number is that of `last_seqs`."""
    used = {user_id: last_seqs[user_id] - lines_count for user_id, lines_count in count(lines).items()}
    numbered = []
    for line in lines:
        used[line.user_id] += 1
        numbered.append(NumberedLine(line.user_id, used[line.user_id], line.type, line.payload))
    return numbered


def _transfer(transfer: PendingTransfer, status: str, **outcome: Any) -> str:
    return _json(
        {
            "id": str(transfer.transfer_id),
            "kind": transfer.kind,
            "status": status,
            "amount": transfer.amount,
            "currency": transfer.currency,
            "from_wallet_id": str(transfer.from_wallet_id),
            "to_wallet_id": str(transfer.to_wallet_id),
            "description": transfer.description,
        }
        | outcome
    )


def _failure(code: str | None) -> dict[str, Any]:
    return {"code": code, "message": templates.reason(code)}
