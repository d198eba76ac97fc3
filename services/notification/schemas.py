"""JSON in and out of the notification service's internal routes."""

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
from services.notification.commands_events import News
from services.notification.feed import Notification
from services.notification.store import NEWEST, Position, Told
from services.notification.store_events import Place

FEEDS_MAX = 1000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POSITION = struct.Struct(">q16s")
_MICROSECOND = timedelta(microseconds=1)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Page(_Model):
    """Which part of whose notifications."""

    user_id: UUID
    limit: Annotated[int, Field(ge=1, le=limits.PAGE_MAX)] = limits.PAGE_DEFAULT
    cursor: str | None = None

    @property
    def below(self) -> Position:
        """Where the page begins."""
        return NEWEST if self.cursor is None else decode_cursor(self.cursor)


class ReadRequest(_Model):
    """Who has read it."""

    user_id: UUID


class FeedPlace(_Model):
    """Whose feed, and the number after which it is asked for; null: only how far it goes."""

    user_id: UUID
    after: Annotated[int, Field(ge=0, le=limits.BIGINT_MAX)] | None


class FeedsRequest(_Model):
    """The feeds of many users at once, at most `limit` lines of each."""

    items: Annotated[list[FeedPlace], Field(max_length=FEEDS_MAX)]
    limit: Annotated[int, Field(ge=1, le=limits.PAGE_MAX)]

    @property
    def places(self) -> list[Place]:
        """Where each feed is to be read from."""
        return [Place(item.user_id, item.after) for item in self.items]


PAGE = TypeAdapter(Page)
FEEDS = TypeAdapter(FeedsRequest)
READ = TypeAdapter(ReadRequest)


def page(found: Sequence[Notification], limit: int) -> dict[str, Any]:
    """A page, given one notification more than it holds if there is one."""
    shown = found[:limit]
    more = len(found) > limit
    return {
        "items": [feed.notification(notification) for notification in shown],
        "next_cursor": encode_cursor(Position(shown[-1].created_at, shown[-1].id)) if more else None,
    }


def told(rows: Sequence[Told]) -> dict[str, Any]:
    """Who was told, and when."""
    return {"items": [{"at": format_time(row.at), "user_id": str(row.user_id), "kind": row.kind} for row in rows]}


def feeds(news: Sequence[News]) -> dict[str, Any]:
    """What is new in feeds; the payload of each line stays the JSON text that it is."""
    return {
        "items": [
            {
                "user_id": str(feed_news.user_id),
                "after": feed_news.after,
                "last_seq": feed_news.last_seq,
                "events": [event._asdict() for event in feed_news.events],
            }
            for feed_news in news
        ]
    }


def encode_cursor(position: Position) -> str:
    """A position as opaque text."""
    microseconds = (position.created_at - _EPOCH) // _MICROSECOND
    return base64.urlsafe_b64encode(_POSITION.pack(microseconds, position.id.bytes)).decode()


def decode_cursor(text: str) -> Position:
    """The position in a cursor of ours.

    Raises:
        InvalidParameter: it is none.
    """
    try:
        microseconds, id_bytes = _POSITION.unpack(base64.b64decode(text, altchars=b"-_", validate=True))
        return Position(_EPOCH + microseconds * _MICROSECOND, UUID(bytes=id_bytes))
    except (ValueError, OverflowError, struct.error):
        raise InvalidParameter("cursor", "is not a cursor of this list") from None
