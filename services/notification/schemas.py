"""JSON in and out of the notification service's internal routes."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from services.contracts.messages import format_time
from services.notification import feed
from services.notification.errors import InvalidParameter
from services.notification.feed import Notification
from services.notification.store import NEWEST, Position, Told

PAGE_DEFAULT = 50
PAGE_MAX = 200

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POSITION = struct.Struct(">q16s")
_MICROSECOND = timedelta(microseconds=1)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Page(_Model):
    """Which part of whose notifications."""

    user_id: UUID
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT
    cursor: str | None = None

    @property
    def below(self) -> Position:
        """Where the page begins."""
        return NEWEST if self.cursor is None else decode_cursor(self.cursor)


class ReadRequest(_Model):
    """Who has read it."""

    user_id: UUID


PAGE = TypeAdapter(Page)
READ = TypeAdapter(ReadRequest)


def page(found: Sequence[Notification], limit: int) -> dict[str, Any]:
    """A page, given one notice more than it holds if there is one."""
    shown = found[:limit]
    more = len(found) > limit
    return {
        "items": [feed.notification(notice) for notice in shown],
        "next_cursor": encode_cursor(Position(shown[-1].created_at, shown[-1].id)) if more else None,
    }


def told(rows: Sequence[Told]) -> dict[str, Any]:
    """Who was told, and when."""
    return {"items": [{"at": format_time(row.at), "user_id": str(row.user_id), "kind": row.kind} for row in rows]}


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
