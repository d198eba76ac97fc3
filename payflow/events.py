"""Live events: reads a stream of server-sent events, block by block."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from payflow.errors import UnexpectedResponse

SILENT_SECONDS = 45.0
"""The gateway sends a comment every 15 s; three times that without any is a broken connection."""

TOKEN_SPENT = frozenset({"token_expired", "session_ended"})
"""The types of events after which a new access token is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event. `id` is its position in the user's feed, from where `events` can be resumed.

    `type` is `transfer.pending`, `transfer.completed`, `transfer.failed` or `notification`, with the JSON of the transfer or
    the notification as `data`; or `reset`: the events in between have expired, so read again what you show.
    """

    id: int
    type: str
    data: Mapping[str, Any]

    @property
    def document(self) -> dict[str, Any]:
        """The event as JSON."""
        return {"id": self.id, "type": self.type, "data": self.data}


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a stream; fields that it does not have are None."""

    id: int | None
    type: str | None
    data: Mapping[str, Any] | None

    @property
    def event(self) -> Event | None:
        """The event, if the block has all of its fields."""
        if self.id is None or self.type is None or self.data is None:
            return None
        return Event(id=self.id, type=self.type, data=self.data)


async def read_blocks(lines: AsyncIterable[bytes]) -> AsyncIterator[Block]:
    """The blocks of a stream, without a last one that is incomplete.

    Raises:
        UnexpectedResponse: it is not a stream of a PayFlow gateway.
    """
    fields: dict[str, str] = {}
    async for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
            continue
        if fields:
            yield _block(fields)
        fields = {}


def _block(fields: Mapping[str, str]) -> Block:
    try:
        data = dict(json.loads(fields["data"])) if "data" in fields else None
        return Block(int(fields["id"]) if "id" in fields else None, fields.get("event"), data)
    except (ValueError, TypeError, RecursionError) as error:
        raise UnexpectedResponse("the gateway's stream of events cannot be read") from error
