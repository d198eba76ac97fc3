"""One list merged from several services, newest first, with one cursor that holds a position in each of them.

Items of a service that did not respond come with a later page: none is skipped. Each page is ordered by time; rows that arrive
meanwhile are above every position and change nothing.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from services.chassis.body import InvalidParameter, InvalidRequest
from services.contracts.refusal import Refusal

Source = Callable[[Mapping[str, str]], Awaitable[Any]]
"""A service's own list: given `limit` and perhaps `before`, the page below that position."""

POSITION_LENGTH_MAX = 100
INVALID = InvalidRequest.status


async def read(
    sources: Mapping[str, Source], *, limit: int, cursor: str | None, time_field: str = "at"
) -> dict[str, Any]:
    """A page of `limit` items. A service that does not respond is listed in `unavailable`.

    Raises:
        InvalidRequest: the cursor is not one of this list.
        Refusal: a service found the request invalid.
    """
    positions = decode_cursor(cursor, sources)
    reads = [_read_source(source, limit=limit + 1, before=positions.get(name)) for name, source in sources.items()]
    pages = dict(zip(sources, await asyncio.gather(*reads), strict=True))
    rows = sorted(
        ((item[time_field], name, item["id"], item) for name, items in pages.items() for item in items or ()),
        key=lambda row: (row[0], row[1]),
        reverse=True,
    )
    shown = rows[:limit]
    positions |= {name: f"{at}/{identifier}" for at, name, identifier, _ in shown}
    return {
        "items": [item for *_, item in shown],
        "next_cursor": encode_cursor(positions) if len(rows) > limit else None,
        "unavailable": sorted(name for name, items in pages.items() if items is None),
    }


def encode_cursor(positions: Mapping[str, str]) -> str:
    """The last position shown of each service, as opaque text."""
    return base64.urlsafe_b64encode(json.dumps(positions, separators=(",", ":")).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, sources: Mapping[str, Source]) -> dict[str, str]:
    """The positions in a cursor; each service validates its own.

    Raises:
        InvalidRequest
    """
    if cursor is None:
        return {}
    try:
        positions = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, RecursionError):
        positions = None
    if (
        not isinstance(positions, dict)
        or not positions.keys() <= sources.keys()
        or not all(map(_is_position, positions.values()))
    ):
        raise InvalidParameter("cursor", "is not a cursor of this list")
    return positions


def _is_position(value: Any) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable() and len(value) <= POSITION_LENGTH_MAX


async def _read_source(source: Source, *, limit: int, before: str | None) -> list[dict[str, Any]] | None:
    try:
        page = await source({"limit": str(limit)} | ({"before": before} if before is not None else {}))
    except Refusal as refusal:
        if refusal.status == INVALID:
            raise
        return None
    items: list[dict[str, Any]] = page["items"]
    return items
