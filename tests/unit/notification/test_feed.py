"""The lines of a user's feed and their numbers."""

from __future__ import annotations

import json
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.contracts.identifiers import new_id
from services.notification import feed
from services.notification.feed import Line, Notification
from tests.unit.notification.events import AT, completed, deposit, failed

ALICE, BOB = new_id(), new_id()
USERS = [UUID(int=n) for n in range(1, 5)]


def test_viewers_of_a_completed_transfer() -> None:
    """Both users see a completed transfer; a user who is both sees it once."""
    assert feed.viewers(completed(sender_id=ALICE, recipient_id=BOB)) == [ALICE, BOB]
    assert feed.viewers(completed(sender_id=ALICE, recipient_id=ALICE)) == [ALICE]
    assert feed.viewers(completed(sender_id=ALICE, recipient_id=None)) == [ALICE]


def test_viewers_of_a_failed_transfer() -> None:
    """Only the sender sees a failed transfer."""
    assert feed.viewers(failed(sender_id=ALICE, recipient_id=BOB)) == [ALICE]


def test_viewers_of_a_deposit() -> None:
    """The operator sees the outcome of the deposit; the owner of the wallet sees it when it is completed."""
    assert feed.viewers(deposit(ALICE, BOB)) == [ALICE, BOB]


def test_completed_transfer() -> None:
    """The line shows the transfer with the names and formats of the API."""
    event = completed(sender_id=ALICE, recipient_id=None, description="rent")
    [line] = feed.transfer_lines(event)
    assert line.type == "transfer.completed"
    assert json.loads(line.payload) == {
        "id": str(event.transfer_id),
        "kind": "transfer",
        "status": "COMPLETED",
        "amount": 1050,
        "currency": "USD",
        "from_wallet_id": str(event.from_wallet_id),
        "to_wallet_id": str(event.to_wallet_id),
        "description": "rent",
        "completed_at": "2026-01-02T03:04:05.678901Z",
        "failed_at": None,
        "failure": None,
    }


def test_failed_transfer() -> None:
    """The line of a failed transfer has its code and its own time."""
    [line] = feed.transfer_lines(failed("wallet_frozen"))
    shown = json.loads(line.payload)
    assert line.type == "transfer.failed"
    assert (shown["status"], shown["completed_at"], shown["failed_at"]) == (
        "FAILED",
        None,
        "2026-01-02T03:04:05.678901Z",
    )
    assert shown["failure"]["code"] == "wallet_frozen"


def test_notification() -> None:
    """A notification is shown with exactly the fields of the API, unread as null."""
    recorded = Notification(new_id(), "transfer_received", new_id(), "Money received", "You received it.", AT, None)
    line = feed.notification_line(BOB, recorded)
    assert (line.user_id, line.type) == (BOB, "notification")
    assert json.loads(line.payload) == {
        "id": str(recorded.id),
        "kind": "transfer_received",
        "transfer_id": str(recorded.transfer_id),
        "title": "Money received",
        "body": "You received it.",
        "created_at": "2026-01-02T03:04:05.678901Z",
        "read_at": None,
    }


@given(st.lists(st.sampled_from(USERS)), st.lists(st.integers(0, 9), min_size=4, max_size=4))
def test_numbers(users: list[UUID], used: list[int]) -> None:
    """Each user's lines continue that user's numbers without a gap, in order."""
    lines = [Line(user, "notification", str(position)) for position, user in enumerate(users)]
    before = dict(zip(USERS, used, strict=True))
    counts = feed.count(lines)
    numbered = feed.number(lines, {user: before[user] + counts[user] for user in counts})
    for user in USERS:
        mine = [line for line in numbered if line.user_id == user]
        assert [line.seq for line in mine] == list(range(before[user] + 1, before[user] + 1 + counts[user]))
        assert [line.payload for line in mine] == [line.payload for line in lines if line.user_id == user]
