"""The live streams of this process, fed by one loop with one call for all of them.

What a stream sends is read from durable, numbered rows, always from the place where this very stream stands. So there is no
moment at which it changes over from "what was missed" to "what comes now", and nothing to be lost or doubled in it. The wakeup
only says when to look; without it everybody is looked at every two seconds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from typing import Any

import structlog
from aiohttp import web

from services.chassis import metrics as chassis_metrics
from services.chassis.client import Upstream, UpstreamUnavailable
from services.contracts.refusal import Refusal
from services.gateway import event_stream, metrics, upstreams
from services.gateway.errors import NoStreamLeft, TooManyStreams

POLL_SECONDS = 2.0
"""How late a line may come when the wakeup was not heard."""

PAUSE_SECONDS = 0.02
"""Between two rounds, whatever notifies: a wakeup gone mad must not keep the notification service busy."""

CALL_SECONDS = 5.0
PLACE_SECONDS = 1.5
"""How long who names no place waits to be given one, before they are told that nobody knows it."""

PLACES_MAX = 500
"""How many feeds are asked for in one call."""

LINES_MAX = 32
"""How many lines of each; a stream that is further behind asks again at once."""

READY_MAX = 64
"""A stream that has so many lines to send yet is not asked for: its lines are safe where they are."""

STREAMS_OF_USER_MAX = 10
TOO_MANY_SECONDS = 5

log = structlog.get_logger()


class Ending(StrEnum):
    """Why a stream ends; all but the last two are told as an event of this type."""

    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - the name of an event
    SESSION_ENDED = "session_ended"
    SERVER_DRAINING = "server_draining"
    TOO_SLOW = "too_slow"
    GONE = "gone"


assert tuple(Ending) == metrics.STREAM_ENDINGS


class Stream:
    """One client's stream: its place in the feed of its user, and what is ready to be sent."""

    def __init__(self, user_id: str, session_id: str, after: int | None, is_gone: Callable[[], bool]) -> None:
        """`after` is the number of the last line the client has; None: from now on."""
        self.user_id = user_id
        self.session_id = session_id
        self.after = after
        self.ending: Ending | None = None
        self.is_behind = False
        self.is_gone = is_gone
        self._ready: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._refusal: Refusal | None = None

    @property
    def has_room(self) -> bool:
        """Whether further lines may be brought."""
        return len(self._ready) < READY_MAX and self.ending is None

    def feed(self, last_seq: int, lines: Sequence[Mapping[str, Any]]) -> None:
        """Take what comes after this stream's place; `last_seq` is how far the feed goes."""
        if self.after is None:
            self.after = last_seq
        elif lines and lines[0]["seq"] == self.after + 1:
            self._ready.extend(event_stream.event(line["type"], line["payload"], seq=line["seq"]) for line in lines)
            self.after = lines[-1]["seq"]
        else:
            # What came next is kept no more, or the feed does not reach as far as the client: its database was restored.
            reason = "unknown_id" if last_seq < self.after else "too_old"
            self._ready.append(event_stream.reset(reason, seq=last_seq))
            self.after = last_seq
        self.is_behind = last_seq > self.after
        self._changed.set()

    def refuse(self, refusal: Refusal) -> None:
        """Nobody knows how far the feed goes: who waits for that is told so, everybody else tries again."""
        if self.after is None:
            self._refusal = refusal
            self._changed.set()

    def end(self, ending: Ending) -> None:
        """Let the stream end; the first reason counts."""
        if self.ending is None:
            self.ending = ending
            self._changed.set()

    async def place(self, seconds: float) -> int:
        """Where the stream begins.

        Raises:
            UpstreamUnavailable: that could not be found out.
        """
        if self.after is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
        if self.after is None:
            raise self._refusal or UpstreamUnavailable
        return self.after

    async def take(self, seconds: float) -> bytes:
        """Everything that is ready, as soon as there is something; nothing after so long, or when the stream ends."""
        if not self._ready:
            self._changed.clear()
            if self.ending is None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await self._changed.wait()
        if self.ending is not None:
            return b""
        taken = b"".join(self._ready)
        self._ready.clear()
        return taken


class Hub:
    """All streams of this process."""

    def __init__(self, notification: Upstream, *, streams_max: int) -> None:
        self._notification = notification
        self._streams_max = streams_max
        self._streams: dict[str, set[Stream]] = {}
        self._count = 0
        self._rung: set[str] = set()
        self._everybody = False
        self._wakeup = asyncio.Event()
        self._is_unavailable = False
        self._draining = False

    @asynccontextmanager
    async def open(
        self, user_id: str, session_id: str, after: int | None, is_gone: Callable[[], bool]
    ) -> AsyncIterator[Stream]:
        """A stream for as long as the block runs.

        Raises:
            TooManyStreams: this user has enough of them.
            NoStreamLeft: this process has.
        """
        self._make_room(user_id)
        stream = Stream(user_id, session_id, after, is_gone)
        if self._draining:
            stream.end(Ending.SERVER_DRAINING)
        self._streams.setdefault(user_id, set()).add(stream)
        self._count += 1
        self._ask(user_id)
        metrics.STREAMS.inc()
        try:
            yield stream
        finally:
            metrics.STREAMS.dec()
            self._remove(stream)
            metrics.STREAMS_ENDED.labels(stream.ending or Ending.GONE).inc()

    async def take(self, stream: Stream, seconds: float) -> bytes:
        """What the stream has to send next, as `Stream.take`; then there is room for more."""
        taken = await stream.take(seconds)
        if stream.is_behind:
            self._ask(stream.user_id)
        return taken

    def notify(self, message: bytes) -> None:
        """The wakeup rang: for users by their names, or for everybody. What it says is only a reason to look."""
        if not self._streams:
            return
        names = self._streams.keys() & set(message.decode("ascii", "replace").split(","))
        if names:
            self._rung |= names
        elif message in (b"", b"*"):
            self._everybody = True
        else:
            return
        self._wakeup.set()

    def end_session(self, session_id: str) -> None:
        """A session has ended: its streams end now."""
        for stream in self._all():
            if stream.session_id == session_id:
                stream.end(Ending.SESSION_ENDED)

    async def drain(self, _app: web.Application) -> None:
        """The process ends: all streams end now, and none begins."""
        self._draining = True
        for stream in self._all():
            stream.end(Ending.SERVER_DRAINING)

    async def keep(self) -> None:
        """Feed the streams, until cancelled."""
        loop = asyncio.get_running_loop()
        poll_at = loop.time() + POLL_SECONDS
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(poll_at):
                    await self._wakeup.wait()
            self._wakeup.clear()
            if self._everybody or loop.time() >= poll_at:
                self._rung.update(self._streams)
                poll_at = loop.time() + POLL_SECONDS
            names, self._rung, self._everybody = self._rung, set(), False
            await self._try_round(names)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _try_round(self, names: set[str]) -> None:
        asked = self._places(names)
        places = list(asked)
        for start in range(0, len(places), PLACES_MAX):
            part = places[start : start + PLACES_MAX]
            try:
                await self._round(part, asked)
                self._is_unavailable = False
            except Refusal as refusal:
                if not self._is_unavailable:
                    log.warning("live_events_not_read", reason=refusal.code)
                self._is_unavailable = True
                self._refuse(part, asked)
            except Exception:
                # Never worth the process: the streams stay where they are, and the next round asks again.
                log.exception("live_events_failed")
                self._refuse(part, asked)

    async def _round(
        self, places: Sequence[tuple[str, int | None]], asked: Mapping[tuple[str, int | None], list[Stream]]
    ) -> None:
        chassis_metrics.BATCH_ITEMS.labels("live").observe(len(places))
        body = {"items": [{"user_id": user_id, "after": after} for user_id, after in places], "limit": LINES_MAX}
        answer = await upstreams.call(self._notification, "POST", "/internal/events", body=body, seconds=CALL_SECONDS)
        for item in answer["items"]:
            for stream in asked[item["user_id"], item["after"]]:
                stream.feed(item["last_seq"], item["events"])
                if stream.is_behind and stream.has_room:
                    self._ask(stream.user_id)

    def _refuse(
        self, places: Sequence[tuple[str, int | None]], asked: Mapping[tuple[str, int | None], list[Stream]]
    ) -> None:
        for place in places:
            for stream in asked[place]:
                stream.refuse(UpstreamUnavailable())

    def _places(self, names: set[str]) -> dict[tuple[str, int | None], list[Stream]]:
        """From where to read the feeds of these users: streams that stand at the same place are read for together."""
        asked: dict[tuple[str, int | None], list[Stream]] = {}
        for user_id in names:
            for stream in self._streams.get(user_id, ()):
                if stream.is_gone():
                    stream.end(Ending.GONE)
                if stream.has_room:
                    asked.setdefault((user_id, stream.after), []).append(stream)
        return asked

    def _ask(self, user_id: str) -> None:
        self._rung.add(user_id)
        self._wakeup.set()

    def _make_room(self, user_id: str) -> None:
        own = self._streams.get(user_id, ())
        if len(own) >= STREAMS_OF_USER_MAX:
            # A connection that broke is noticed when somebody writes to it; who comes back must not wait for that.
            for stream in own:
                if stream.is_gone():
                    stream.end(Ending.GONE)
            if sum(stream.ending is None for stream in own) >= STREAMS_OF_USER_MAX:
                raise TooManyStreams(headers={"Retry-After": str(TOO_MANY_SECONDS)})
        if self._count >= self._streams_max:
            raise NoStreamLeft(retry_after_seconds=TOO_MANY_SECONDS)

    def _remove(self, stream: Stream) -> None:
        self._count -= 1
        own = self._streams[stream.user_id]
        own.remove(stream)
        if not own:
            del self._streams[stream.user_id]

    def _all(self) -> Iterator[Stream]:
        return (stream for own in self._streams.values() for stream in own)


HUB: web.AppKey[Hub] = web.AppKey("hub")
