"""Cursors and pages."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.body import InvalidParameter
from services.contracts.identifiers import new_id
from services.notification import schemas
from services.notification.feed import Notification
from services.notification.store import NEWEST, Position
from tests.unit.notification.events import AT


@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)), st.uuids())  # noqa: DTZ001 - the zone is given below
def test_cursor_round_trip(moment: datetime, id_: object) -> None:
    """A cursor decodes to the position it was made from."""
    position = Position(moment.replace(tzinfo=UTC), id_)  # type: ignore[arg-type]
    assert schemas.decode_cursor(schemas.encode_cursor(position)) == position


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "not-a-cursor",
        "0" * 31,
        "0" * 33,
        "é" * 32,
        base64.urlsafe_b64encode(b"\x7f" + b"\xff" * 23).decode(),
        base64.urlsafe_b64encode(b"\x80" + b"\x00" * 23).decode(),
        base64.urlsafe_b64encode(b"\xfe" * 24).decode() + "=",
    ],
)
def test_malformed_cursor(cursor: str) -> None:
    """A text that is not a cursor is refused with the field's name."""
    with pytest.raises(InvalidParameter) as refused:
        schemas.decode_cursor(cursor)
    assert [error.field for error in refused.value.errors] == ["cursor"]


def test_page_begins_at_the_newest() -> None:
    """Without a cursor a page begins above every row and has fifty items."""
    asked = schemas.PAGE.validate_python({"user_id": str(new_id())})
    assert (asked.below, asked.limit) == (NEWEST, 50)


def test_last_page() -> None:
    """The last page has no cursor."""
    found = [_notification() for _ in range(2)]
    assert schemas.page(found, 2)["next_cursor"] is None
    assert schemas.page([], 2) == {"items": [], "next_cursor": None}


def test_page_with_more() -> None:
    """A page that is followed by another continues from its last row."""
    found = [_notification() for _ in range(3)]
    page = schemas.page(found, 2)
    assert [item["id"] for item in page["items"]] == [str(notification.id) for notification in found[:2]]
    assert schemas.decode_cursor(page["next_cursor"]) == Position(AT, found[1].id)


def _notification() -> Notification:
    return Notification(new_id(), "transfer_completed", new_id(), "Money sent", "You sent it.", AT, AT)
