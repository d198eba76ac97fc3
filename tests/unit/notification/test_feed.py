"""The lines of a user's feed and their numbers."""

from __future__ import annotations

import json
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.contracts.identifiers import new_id
from services.contracts.messages import TransferEvent
from services.notification import feed
from services.notification.feed import Event, Notification, Outcome
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


def lines(event: TransferEvent) -> list[Event]:
    """What the first viewer's feed shows of an outcome, read from its row."""
    entry, *_ = feed.entries(event)
    numbered = feed.number([entry], {entry.user_id: entry.lines_count})
    if not numbered.notifications:
        return [Event(line.seq, line.type, line.payload) for line in numbered.lines]
    [row] = numbered.notifications
    recorded = Notification(UUID(row.id), row.kind, row.transfer_id, row.title, row.body, AT, AT)
    return feed.events(row.seq, recorded, Outcome(feed.transfer(event), row.failure_code, row.occurred_at))


def test_completed_transfer() -> None:
    """The first line shows the transfer with the names and formats of the API, the second the notification."""
    event = completed(sender_id=ALICE, recipient_id=None, description="rent")
    shown, notified = lines(event)
    assert (shown.seq, shown.type) == (1, "transfer.completed")
    assert json.loads(shown.payload) == {
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
    assert (notified.seq, notified.type) == (2, "notification")


def test_failed_transfer() -> None:
    """The line of a failed transfer has its code and its own time."""
    shown, _ = lines(failed("wallet_frozen"))
    transfer = json.loads(shown.payload)
    assert shown.type == "transfer.failed"
    assert (transfer["status"], transfer["completed_at"], transfer["failed_at"]) == (
        "FAILED",
        None,
        "2026-01-02T03:04:05.678901Z",
    )
    assert transfer["failure"]["code"] == "wallet_frozen"


def test_outcome_without_a_notification() -> None:
    """The operator's line of a deposit equals the line that a notified user would get."""
    [shown] = lines(deposit(ALICE, BOB))
    assert (shown.seq, shown.type) == (1, "transfer.completed")
    assert json.loads(shown.payload)["completed_at"] == "2026-01-02T03:04:05.678901Z"


def test_notification() -> None:
    """A notification is shown with exactly the fields of the API, unread as null."""
    event = completed(sender_id=ALICE)
    _, line = lines(event)
    shown = json.loads(line.payload)
    assert {"title": "Money sent", "body": "You sent 10.50 USD."} == {key: shown[key] for key in ("title", "body")}
    assert shown | {"id": None, "title": None, "body": None} == {
        "id": None,
        "kind": "transfer_completed",
        "transfer_id": str(event.transfer_id),
        "title": None,
        "body": None,
        "created_at": "2026-01-02T03:04:05.678901Z",
        "read_at": None,
    }


@given(st.lists(st.tuples(st.sampled_from(USERS), st.booleans())), st.lists(st.integers(0, 9), min_size=4, max_size=4))
def test_numbers(added: list[tuple[UUID, bool]], used: list[int]) -> None:
    """Each user's lines continue that user's numbers without a gap, in order; a notification takes two."""
    entries = [feed.entries(deposit(user, BOB) if single else failed(sender_id=user))[0] for user, single in added]
    before = dict(zip(USERS, used, strict=True))
    counts = feed.count(entries)
    numbered = feed.number(entries, {user: before[user] + counts[user] for user in counts})
    for user in USERS:
        order = [entry.event.transfer_id for entry in entries if entry.user_id == user]
        notifications = [(row.seq, row.transfer_id) for row in numbered.notifications if row.user_id == user]
        single = [(line.seq, UUID(json.loads(line.payload)["id"])) for line in numbered.lines if line.user_id == user]
        mine = sorted(single + notifications)
        taken = sorted([seq for seq, _ in mine] + [seq - 1 for seq, _ in notifications])
        assert taken == list(range(before[user] + 1, before[user] + 1 + counts[user]))
        assert [id_ for _, id_ in mine] == order


@given(st.lists(st.integers(1, 30), unique=True), st.integers(0, 30), st.integers(1, 30))
def test_following(seqs: list[int], after: int, limit: int) -> None:
    """The lines after a position, up to the first gap and at most so many: a gap, where lines have expired, is never skipped."""
    found = [line.seq for line in feed.following([Event(seq, "x", "{}") for seq in sorted(seqs)], after, limit)]
    first = min((seq for seq in seqs if seq > after), default=None)
    expected: list[int] = []
    while first in seqs and len(expected) < limit:
        expected.append(first)
        first += 1
    assert expected == found
