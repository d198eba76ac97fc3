"""A user's feed: numbered lines, without gaps and in order, from which live events are served. Pure.

A notification is two lines: the event of the transfer, and the notification itself. One row holds both, and `seq` is the number
of the second; they are rendered when they are read. A line without a notification is a row of its own, with its JSON text.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from services.contracts.identifiers import new_id, new_id_text
from services.contracts.messages import TransferEvent, format_time
from services.notification import templates
from services.notification.templates import COMPLETED, FAILED, TRANSFER_FAILED, NotificationText

NOTIFICATION = "notification"
PENDING = "transfer.pending"

_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class Transfer(NamedTuple):
    """What the feed says about a transfer in any state."""

    id: UUID
    kind: str
    amount: int
    currency: str
    from_wallet_id: UUID
    to_wallet_id: UUID
    description: str | None


class PendingTransfer(NamedTuple):
    """A transfer as it was accepted."""

    transfer: Transfer
    sender_id: UUID
    expires_at: datetime


class Outcome(NamedTuple):
    """A transfer with its outcome, at the time of the ledger."""

    transfer: Transfer
    failure_code: str | None
    occurred_at: datetime


class Notification(NamedTuple):
    """A notification as recorded."""

    id: UUID
    kind: str
    transfer_id: UUID
    title: str
    body: str
    created_at: datetime
    read_at: datetime | None


class Entry(NamedTuple):
    """What the feed of one user gets about an outcome; without a text only the event of the transfer."""

    user_id: UUID
    event: TransferEvent
    text: NotificationText | None

    @property
    def lines_count(self) -> int:
        """How many numbers it takes."""
        return 1 if self.text is None else 2


class NumberedNotification(NamedTuple):
    """A notification to record, with its number and the transfer. Its id is text, because nothing here compares it."""

    id: str
    user_id: UUID
    seq: int
    transfer_id: UUID
    kind: str
    title: str
    body: str
    transfer_kind: str
    amount: int
    currency: str
    from_wallet_id: UUID
    to_wallet_id: UUID
    description: str | None
    failure_code: str | None
    occurred_at: datetime


class NumberedLine(NamedTuple):
    """A line without a notification, and its number in the user's feed."""

    user_id: UUID
    seq: int
    type: str
    payload: str


class LateTransfer(NamedTuple):
    """A transfer that has no outcome by the time at which it was expected."""

    id: UUID
    sender_id: UUID
    amount: int
    currency: str
    description: str | None
    expected_by: datetime
    expires_at: datetime


class NumberedLate(NamedTuple):
    """The notification of a late transfer to record, with its number."""

    id: UUID
    user_id: UUID
    seq: int
    transfer_id: UUID
    title: str
    body: str
    created_at: datetime


class Numbered(NamedTuple):
    """Entries with their numbers, as they are written."""

    notifications: list[NumberedNotification]
    lines: list[NumberedLine]


class Event(NamedTuple):
    """A line of a feed as clients get it; `payload` is JSON text on one line."""

    seq: int
    type: str
    payload: str


def viewers(event: TransferEvent) -> list[UUID]:
    """Who may see the transfer: the sender in any state, the recipient once it is completed."""
    recipient_id = event.recipient_id if event.type == COMPLETED else None
    if recipient_id is None or recipient_id == event.sender_id:
        return [event.sender_id]
    return [event.sender_id, recipient_id]


def entries(event: TransferEvent) -> list[Entry]:
    """What an outcome adds to the feeds of its viewers. Every user who is notified is one of them."""
    texts = {text.user_id: text for text in templates.notifications(event)}
    return [Entry(user_id, event, texts.get(user_id)) for user_id in viewers(event)]


def count(added: Iterable[Entry]) -> Counter[UUID]:
    """How many numbers the entries of each user take."""
    counts: Counter[UUID] = Counter()
    for entry in added:
        counts[entry.user_id] += entry.lines_count
    return counts


def number(added: Sequence[Entry], last_seqs: Mapping[UUID, int]) -> Numbered:
    """Number the lines of each user, in their order; the last number is that of `last_seqs`."""
    left = count(added)
    numbered = Numbered([], [])
    for entry in added:
        left[entry.user_id] -= entry.lines_count
        seq = last_seqs[entry.user_id] - left[entry.user_id]
        if entry.text is None:
            outcome = Outcome(transfer(entry.event), entry.event.failure_code, entry.event.occurred_at)
            payload = _outcome(entry.event.type, outcome)
            numbered.lines.append(NumberedLine(entry.user_id, seq, entry.event.type, payload))
        else:
            numbered.notifications.append(_notification(entry.event, entry.text, seq))
    return numbered


def transfer(event: TransferEvent) -> Transfer:
    """The transfer of an event."""
    return Transfer(
        event.transfer_id,
        event.kind,
        event.amount,
        event.currency,
        event.from_wallet_id,
        event.to_wallet_id,
        event.description,
    )


def number_pending(added: Sequence[PendingTransfer], last_seqs: Mapping[UUID, int]) -> list[NumberedLine]:
    """A line about each transfer as it was accepted, for its sender; the recipient sees it only when it is completed."""
    left = Counter(pending.sender_id for pending in added)
    lines = []
    for pending in added:
        left[pending.sender_id] -= 1
        seq = last_seqs[pending.sender_id] - left[pending.sender_id]
        payload = _transfer(pending.transfer, "PENDING", completed_at=None, failed_at=None, failure=None)
        lines.append(NumberedLine(pending.sender_id, seq, PENDING, payload))
    return lines


def number_late(added: Sequence[LateTransfer], last_seqs: Mapping[UUID, int]) -> list[NumberedLate]:
    """A notification of each transfer for its sender, dated by when the outcome was expected."""
    left = Counter(late.sender_id for late in added)
    rows = []
    for late in added:
        left[late.sender_id] -= 1
        seq = last_seqs[late.sender_id] - left[late.sender_id]
        text = templates.late(late.amount, late.currency, late.description)
        rows.append(NumberedLate(new_id(), late.sender_id, seq, late.id, text.title, text.body, late.expected_by))
    return rows


def late_line(row: NumberedLate) -> NumberedLine:
    """The line of the feed for the notification of a late transfer."""
    unread = Notification(row.id, templates.TRANSFER_LATE, row.transfer_id, row.title, row.body, row.created_at, None)
    return NumberedLine(row.user_id, row.seq, NOTIFICATION, _json(notification(unread)))


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


def events(seq: int, recorded: Notification, outcome: Outcome) -> list[Event]:
    """The two lines of a recorded notification, as they were when it was recorded: unread."""
    type_ = FAILED if recorded.kind == TRANSFER_FAILED else COMPLETED
    unread = recorded._replace(read_at=None)
    return [
        Event(seq - 1, type_, _outcome(type_, outcome)),
        Event(seq, NOTIFICATION, _json(notification(unread))),
    ]


def following(lines: Iterable[Event], after: int, limit: int) -> list[Event]:
    """At most `limit` lines after a number, in their order, up to the first gap: what is missing there has expired."""
    found: list[Event] = []
    for line in lines:
        if len(found) == limit or (found and line.seq != found[-1].seq + 1):
            break
        if line.seq > after:
            found.append(line)
    return found


def _notification(event: TransferEvent, text: NotificationText, seq: int) -> NumberedNotification:
    return NumberedNotification(
        new_id_text(),
        text.user_id,
        seq,
        event.transfer_id,
        text.kind,
        text.title,
        text.body,
        event.kind,
        event.amount,
        event.currency,
        event.from_wallet_id,
        event.to_wallet_id,
        event.description,
        event.failure_code,
        event.occurred_at,
    )


def _outcome(type_: str, outcome: Outcome) -> str:
    """The text of the event of an outcome. The fields are those of the public API."""
    at = format_time(outcome.occurred_at)
    if type_ == COMPLETED:
        return _transfer(outcome.transfer, "COMPLETED", completed_at=at, failed_at=None, failure=None)
    failure = {"code": outcome.failure_code, "message": templates.reason(outcome.failure_code)}
    return _transfer(outcome.transfer, "FAILED", completed_at=None, failed_at=at, failure=failure)


def _transfer(of: Transfer, status: str, **outcome: Any) -> str:
    return _json(
        {
            "id": str(of.id),
            "kind": of.kind,
            "status": status,
            "amount": of.amount,
            "currency": of.currency,
            "from_wallet_id": str(of.from_wallet_id),
            "to_wallet_id": str(of.to_wallet_id),
            "description": of.description,
        }
        | outcome
    )
