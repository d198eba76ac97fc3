"""JSON of the internal routes of the notification service."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from services.chassis.body import InvalidParameter
from services.contracts import limits
from services.contracts.messages import format_time
from services.notification import feed
from services.notification.commands_events import FeedUpdate
from services.notification.feed import Notification
from services.notification.store import NEWEST, NotifiedUser, Position
from services.notification.store_events import Cursor

FEEDS_MAX = 1000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POSITION = struct.Struct(">q16s")
_MICROSECOND = timedelta(microseconds=1)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Page(_Model):
    """A page of a user's notifications."""

    user_id: UUID
    limit: Annotated[int, Field(ge=1, le=limits.PAGE_MAX)] = limits.PAGE_DEFAULT
    cursor: str | None = None

    @property
    def below(self) -> Position:
        """The position below which the page begins."""
        return NEWEST if self.cursor is None else decode_cursor(self.cursor)


class ReadRequest(_Model):
    """The user who has read the notification."""

    user_id: UUID


class FeedCursor(_Model):
    """A user's feed, and the number after which its lines are requested; null: only the number of its last line."""

    user_id: UUID
    after: Annotated[int, Field(ge=0, le=limits.BIGINT_MAX)] | None


class FeedsRequest(_Model):
    """The feeds of many users at once, at most `limit` lines of each."""

    items: Annotated[list[FeedCursor], Field(max_length=FEEDS_MAX)]
    limit: Annotated[int, Field(ge=1, le=limits.PAGE_MAX)]

    @property
    def cursors(self) -> list[Cursor]:
        """The position in each feed."""
        return [Cursor(item.user_id, item.after) for item in self.items]


PAGE = TypeAdapter(Page)
FEEDS = TypeAdapter(FeedsRequest)
READ = TypeAdapter(ReadRequest)


def page(found: Sequence[Notification], limit: int) -> dict[str, Any]:
    """A page of notifications. One more than `limit` in `found` means that there is a next page."""
    shown = found[:limit]
    more = len(found) > limit
    return {
        "items": [feed.notification(notification) for notification in shown],
        "next_cursor": encode_cursor(Position(shown[-1].created_at, shown[-1].id)) if more else None,
    }


def transfer_notifications(rows: Sequence[NotifiedUser]) -> dict[str, Any]:
    """The notifications of a transfer: user, kind and time."""
    return {"items": [{"at": format_time(row.at), "user_id": str(row.user_id), "kind": row.kind} for row in rows]}


def feeds(updates: Sequence[FeedUpdate]) -> dict[str, Any]:
    """New lines of feeds; the payload of each line stays JSON text."""
    return {
        "items": [
            {
                "user_id": str(update.user_id),
                "after": update.after,
                "last_seq": update.last_seq,
                "events": [event._asdict() for event in update.events],
            }
            for update in updates
        ]
    }


def encode_cursor(position: Position) -> str:
    """A position as opaque text."""
    microseconds = (position.created_at - _EPOCH) // _MICROSECOND
    return base64.urlsafe_b64encode(_POSITION.pack(microseconds, position.id.bytes)).decode()


def decode_cursor(text: str) -> Position:
    """The position that a cursor encodes.

    Raises:
        InvalidParameter: it is not a cursor of this service.
    """
    try:
        microseconds, id_bytes = _POSITION.unpack(base64.b64decode(text, altchars=b"-_", validate=True))
        return Position(_EPOCH + microseconds * _MICROSECOND, UUID(bytes=id_bytes))
    except (ValueError, OverflowError, struct.error):
        raise InvalidParameter("cursor", "is not a cursor of this list") from None
