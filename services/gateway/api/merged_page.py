"""One list out of several services': newest first, with one cursor that remembers a place in each of them.

What a service did not tell is told by a later page, when it answers again: nothing is skipped. Each page is in order of time
by itself; rows that arrive meanwhile are above every place and disturb none.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from services.chassis.body import InvalidRequest
from services.contracts.refusal import FieldError, Refusal

Source = Callable[[Mapping[str, str]], Awaitable[Any]]
"""A service's own list: given `limit` and perhaps `before`, the page below that place."""

PLACE_LENGTH_MAX = 100
INVALID = InvalidRequest.status


async def read(
    sources: Mapping[str, Source], *, limit: int, cursor: str | None, time_field: str = "at"
) -> dict[str, Any]:
    """A page of `limit` items. A service that gives no answer is listed in `unavailable`.

    Raises:
        InvalidRequest: the cursor is none of this list.
        Refusal: a service found the question faulty.
    """
    places = decode_cursor(cursor, sources)
    asked = [_ask(source, limit=limit + 1, before=places.get(name)) for name, source in sources.items()]
    pages = dict(zip(sources, await asyncio.gather(*asked), strict=True))
    rows = sorted(
        ((item[time_field], name, item["id"], item) for name, items in pages.items() for item in items or ()),
        key=lambda row: (row[0], row[1]),
        reverse=True,
    )
    shown = rows[:limit]
    places |= {name: f"{at}/{identifier}" for at, name, identifier, _ in shown}
    return {
        "items": [item for *_, item in shown],
        "next_cursor": encode_cursor(places) if len(rows) > limit else None,
        "unavailable": sorted(name for name, items in pages.items() if items is None),
    }


def encode_cursor(places: Mapping[str, str]) -> str:
    """The last place that was shown of each service, as opaque text."""
    return base64.urlsafe_b64encode(json.dumps(places, separators=(",", ":")).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, sources: Mapping[str, Source]) -> dict[str, str]:
    """The places in a cursor; whether each is one, its service says.

    Raises:
        InvalidRequest
    """
    if cursor is None:
        return {}
    try:
        places = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, RecursionError):
        places = None
    if not isinstance(places, dict) or not places.keys() <= sources.keys() or not all(map(_is_place, places.values())):
        raise InvalidRequest(errors=[FieldError("cursor", "is not a cursor of this list")])
    return places


def _is_place(value: Any) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable() and len(value) <= PLACE_LENGTH_MAX


async def _ask(source: Source, *, limit: int, before: str | None) -> list[dict[str, Any]] | None:
    try:
        page = await source({"limit": str(limit)} | ({"before": before} if before is not None else {}))
    except Refusal as refusal:
        if refusal.status == INVALID:
            raise
        return None
    items: list[dict[str, Any]] = page["items"]
    return items
