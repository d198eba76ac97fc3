"""A plain Server-Sent Events client: it connects, reads blocks, and remembers the last id."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

PATH = "/api/v1/events"
SECONDS_MAX = 20.0


@dataclass(frozen=True, slots=True)
class Event:
    """One event; `id` is None if it was sent without one."""

    id: int | None
    type: str
    data: Any


@dataclass(slots=True)
class Reader:
    """An open stream."""

    response: aiohttp.ClientResponse
    last_id: int | None = None
    comments: int = 0
    retry: int | None = None
    _events: list[Event] = field(default_factory=list)

    async def next(self) -> Event:
        """The next event.

        Raises:
            EOFError: the stream has ended.
        """
        async with asyncio.timeout(SECONDS_MAX):
            while (event := await self._block()) is None:
                pass
        return event

    async def take(self, count: int) -> list[Event]:
        """The next `count` events."""
        return [await self.next() for _ in range(count)]

    async def remaining(self) -> list[Event]:
        """All events until the stream ends."""
        events = []
        try:
            while True:
                events.append(await self.next())
        except (EOFError, aiohttp.ClientError):
            return events

    async def follow(self, events: list[Event]) -> None:
        """Append each event to `events` until the stream ends, without a timeout."""
        with suppress(EOFError):
            while True:
                event = await self._block()
                if event is not None:
                    events.append(event)

    async def position(self) -> int:
        """Wait until the stream has sent its position."""
        async with asyncio.timeout(SECONDS_MAX):
            while self.last_id is None:
                assert await self._block() is None
        return self.last_id

    async def _block(self) -> Event | None:
        """The next block; None if it is not an event."""
        fields: dict[str, str] = {}
        while (line := (await self.response.content.readline()).decode()) not in ("\n", ""):
            name, _, value = line.removesuffix("\n").partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
            else:
                self.comments += 1
        if not fields and line == "":
            raise EOFError
        id_ = int(fields["id"]) if "id" in fields else None
        self.last_id = self.last_id if id_ is None else id_
        self.retry = int(fields["retry"]) if "retry" in fields else self.retry
        return Event(id_, fields["event"], json.loads(fields["data"])) if "data" in fields else None


@asynccontextmanager
async def listening(
    session: aiohttp.ClientSession, base: str, token: str, *, after: int | None = None
) -> AsyncIterator[Reader]:
    """Open a stream as the user of the token; the response must be 200."""
    headers = {"Authorization": f"Bearer {token}"} | ({} if after is None else {"Last-Event-ID": str(after)})
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
    async with session.get(base + PATH, headers=headers, timeout=timeout) as response:
        assert 200 == response.status, await response.text()
        yield Reader(response)
