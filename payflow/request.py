"""The parts of a request: path segments, query parameters and fields of a body."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import quote

from payflow.errors import InvalidArgument

T = TypeVar("T")


def segment(text: str) -> str:
    """An id as one segment of a path.

    Raises:
        InvalidArgument: it is empty or consists of dots, which would address another resource, for instance the whole list.
    """
    if text in ("", ".", ".."):
        raise InvalidArgument(f"{text!r} is not an id")
    return quote(text, safe="")


def timestamp(moment: datetime | None) -> str | None:
    """A time in UTC (RFC 3339) to the microsecond."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def period(since: datetime | None, until: datetime | None) -> dict[str, str | None]:
    """The parameters of a period: from `since` on (inclusive), before `until` (exclusive)."""
    return {"from": timestamp(since), "to": timestamp(until)}


def given(fields: Mapping[str, T | None]) -> dict[str, T]:
    """The fields without those that are None."""
    return {name: value for name, value in fields.items() if value is not None}
