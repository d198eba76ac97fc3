"""The live event streams of this process, fed by one loop with one call for all of them.

What a stream sends is read from durable, numbered rows, always from the position of this very stream. So there is no switch
from "missed" to "new" events at which one could be lost or duplicated. A wake-up only says when to read; without it every
stream is read every two seconds.
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
from services.chassis.client import UpstreamUnavailable
from services.contracts.refusal import Refusal
from services.gateway import event_stream, metrics
from services.gateway.clients.notification import NotificationClient
from services.gateway.errors import NoStreamLeft, TooManyStreams

POLL_SECONDS = 2.0
"""How late an event may be sent if its wake-up was lost."""

PAUSE_SECONDS = 0.02
"""Between two reads, whatever wakes the loop: a flood of wake-ups must not overload the notification service."""

CALL_SECONDS = 5.0
POSITION_SECONDS = 1.5
"""How long a new stream without a position waits for one before the request fails."""

POSITIONS_MAX = 500
"""How many feeds one call reads."""

LINES_MAX = 32
"""How many events of each; a stream that is further behind is read again at once."""

READY_MAX = 64
"""A stream with so many unsent events is not read: its events are safe in the database."""

STREAMS_OF_USER_MAX = 10
TOO_MANY_SECONDS = 5

log = structlog.get_logger()

Position = tuple[str, int | None]
"""A user's feed, and the number of the last event read from it; None until it is known."""


class Ending(StrEnum):
    """Why a stream ends; all but the last two are sent as an event of this type."""

    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - the name of an event
    SESSION_ENDED = "session_ended"
    SERVER_DRAINING = "server_draining"
    TOO_SLOW = "too_slow"
    DISCONNECTED = "disconnected"


assert tuple(Ending) == metrics.STREAM_ENDINGS


class Stream:
    """One client's stream: its position in the user's feed, and the events that are ready to send."""

    def __init__(
        self, user_id: str, session_id: str, *, after: int | None, is_disconnected: Callable[[], bool]
    ) -> None:
        """`after` is the number of the last event the client has; None: only new ones."""
        self.user_id = user_id
        self.session_id = session_id
        self.after = after
        self.ending: Ending | None = None
        self.is_behind = False
        self.is_disconnected = is_disconnected
        self._ready: deque[bytes] = deque()
        self._changed = asyncio.Event()
        self._refusal: Refusal | None = None

    @property
    def has_room(self) -> bool:
        """Whether it can take more events."""
        return len(self._ready) < READY_MAX and self.ending is None

    def feed(self, last_seq: int, lines: Sequence[Mapping[str, Any]]) -> None:
        """Take the events after the stream's position; `last_seq` is the newest number of the feed."""
        if self.after is None:
            self.after = last_seq
        elif lines and lines[0]["seq"] == self.after + 1:
            self._ready.extend(event_stream.event(line["type"], line["payload"], seq=line["seq"]) for line in lines)
            self.after = lines[-1]["seq"]
        else:
            # The next events have expired, or the feed ends before the client's position: its database was restored.
            reason = "unknown_id" if last_seq < self.after else "too_old"
            self._ready.append(event_stream.reset(reason, seq=last_seq))
            self.after = last_seq
        self.is_behind = last_seq > self.after
        self._changed.set()

    def refuse(self, refusal: Refusal) -> None:
        """The feed could not be read: a stream that waits for its position fails, any other is read again later."""
        if self.after is None:
            self._refusal = refusal
            self._changed.set()

    def end(self, ending: Ending) -> None:
        """End the stream; the first reason counts."""
        if self.ending is None:
            self.ending = ending
            self._changed.set()

    async def position(self, seconds: float) -> int:
        """The position at which the stream starts.

        Raises:
            UpstreamUnavailable: it could not be read.
        """
        if self.after is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
        if self.after is None:
            raise self._refusal or UpstreamUnavailable
        return self.after

    async def take(self, seconds: float) -> bytes:
        """All events that are ready, as soon as there are any; empty after `seconds`, or when the stream ends."""
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

    def __init__(self, notification: NotificationClient, *, streams_max: int) -> None:
        self._notification = notification
        self._streams_max = streams_max
        self._streams: dict[str, set[Stream]] = {}
        self._count = 0
        self._due: set[str] = set()
        self._all_due = False
        self._wakeup = asyncio.Event()
        self._is_unavailable = False
        self._draining = False

    @asynccontextmanager
    async def open(
        self, user_id: str, session_id: str, *, after: int | None, is_disconnected: Callable[[], bool]
    ) -> AsyncIterator[Stream]:
        """A stream for as long as the block runs.

        Raises:
            TooManyStreams: this user has reached the limit.
            NoStreamLeft: this process has.
        """
        self._make_room(user_id)
        stream = Stream(user_id, session_id, after=after, is_disconnected=is_disconnected)
        if self._draining:
            stream.end(Ending.SERVER_DRAINING)
        self._streams.setdefault(user_id, set()).add(stream)
        self._count += 1
        self._schedule(user_id)
        metrics.STREAMS.inc()
        try:
            yield stream
        finally:
            metrics.STREAMS.dec()
            self._remove(stream)
            metrics.STREAMS_ENDED.labels(stream.ending or Ending.DISCONNECTED).inc()

    async def take(self, stream: Stream, seconds: float) -> bytes:
        """What the stream has to send next, as `Stream.take`; afterwards it has room for more."""
        taken = await stream.take(seconds)
        if stream.is_behind:
            self._schedule(stream.user_id)
        return taken

    def notify(self, message: bytes) -> None:
        """A wake-up for the users it names, or for all. Its content is only a reason to read."""
        if not self._streams:
            return
        user_ids = self._streams.keys() & set(message.decode("ascii", "replace").split(","))
        if user_ids:
            self._due |= user_ids
        elif message in (b"", b"*"):
            self._all_due = True
        else:
            return
        self._wakeup.set()

    def end_session(self, session_id: str) -> None:
        """End the streams of a revoked session."""
        for stream in self._all():
            if stream.session_id == session_id:
                stream.end(Ending.SESSION_ENDED)

    async def drain(self, _app: web.Application) -> None:
        """The process shuts down: end all streams, and start none."""
        self._draining = True
        for stream in self._all():
            stream.end(Ending.SERVER_DRAINING)

    async def run(self) -> None:
        """Feed the streams, until cancelled."""
        loop = asyncio.get_running_loop()
        poll_at = loop.time() + POLL_SECONDS
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(poll_at):
                    await self._wakeup.wait()
            self._wakeup.clear()
            if self._all_due or loop.time() >= poll_at:
                self._due.update(self._streams)
                poll_at = loop.time() + POLL_SECONDS
            due, self._due, self._all_due = self._due, set(), False
            await self._read(due)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _read(self, user_ids: set[str]) -> None:
        by_position = self._by_position(user_ids)
        positions = list(by_position)
        for start in range(0, len(positions), POSITIONS_MAX):
            part = {position: by_position[position] for position in positions[start : start + POSITIONS_MAX]}
            try:
                await self._read_part(part)
                self._is_unavailable = False
            except Refusal as refusal:
                if not self._is_unavailable:
                    log.warning("live_events_not_read", reason=refusal.code)
                self._is_unavailable = True
                _refuse(part)
            except Exception:
                # Not worth ending the process: the streams keep their positions and are read again.
                log.exception("live_events_failed")
                _refuse(part)

    async def _read_part(self, streams: Mapping[Position, list[Stream]]) -> None:
        chassis_metrics.BATCH_ITEMS.labels("live").observe(len(streams))
        items = await self._notification.read_feeds(list(streams), limit=LINES_MAX, seconds=CALL_SECONDS)
        for item in items:
            for stream in streams[item["user_id"], item["after"]]:
                stream.feed(item["last_seq"], item["events"])
                if stream.is_behind and stream.has_room:
                    self._schedule(stream.user_id)

    def _by_position(self, user_ids: set[str]) -> dict[Position, list[Stream]]:
        """The streams of these users by the position to read from: those at the same position share a read."""
        streams: dict[Position, list[Stream]] = {}
        for user_id in user_ids:
            for stream in self._streams.get(user_id, ()):
                if stream.is_disconnected():
                    stream.end(Ending.DISCONNECTED)
                if stream.has_room:
                    streams.setdefault((user_id, stream.after), []).append(stream)
        return streams

    def _schedule(self, user_id: str) -> None:
        self._due.add(user_id)
        self._wakeup.set()

    def _make_room(self, user_id: str) -> None:
        own = self._streams.get(user_id, ())
        if len(own) >= STREAMS_OF_USER_MAX:
            # A broken connection is only noticed when it is written to; a client that reconnects must not wait for that.
            for stream in own:
                if stream.is_disconnected():
                    stream.end(Ending.DISCONNECTED)
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


def _refuse(streams: Mapping[Position, list[Stream]]) -> None:
    for waiting in streams.values():
        for stream in waiting:
            stream.refuse(UpstreamUnavailable())


HUB: web.AppKey[Hub] = web.AppKey("hub")
