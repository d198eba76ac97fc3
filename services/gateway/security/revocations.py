"""The sessions that were ended while access tokens of theirs are still alive, as auth tells them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import structlog
from aiohttp import web

from services.chassis.client import Upstream
from services.contracts.refusal import Refusal

PULL_SECONDS = 0.4
"""The deadline of one pull; with the pause before it, an ended session is known within a second."""

PULL_EVERY_SECONDS = 0.5
PAGES_MAX = 100
REMEMBER_SECONDS = 900.0
"""Longer than any access token lives."""

log = structlog.get_logger()


class Sessions:
    """Which sessions have ended."""

    def __init__(self, auth: Upstream) -> None:
        self._auth = auth
        self._ended: dict[str, float] = {}
        self._after = 0
        self._ahead_seconds = 0.0
        self._wakeup = asyncio.Event()
        self._is_unavailable = False
        self._listeners: list[Callable[[str], None]] = []
        self.are_known = False
        """Whether the list was ever pulled."""

    def has_ended(self, session_id: str) -> bool:
        """Whether the session was ended."""
        return session_id in self._ended

    def now(self) -> float:
        """The Unix time by the clock that dates access tokens; of no use before the list was pulled.

        Ours may be set wrong: with it an hour back, a token would live again when it is forgotten that its session has ended.
        """
        return time.monotonic() + self._ahead_seconds

    def end(self, session_id: str) -> None:
        """Let a session end here and now; everywhere else it does when auth is asked."""
        self._ended[session_id] = time.monotonic() + REMEMBER_SECONDS
        for tell in self._listeners:
            tell(session_id)

    def listen(self, tell: Callable[[str], None]) -> None:
        """Be told of each session that ends, as soon as it is known here; perhaps more than once."""
        self._listeners.append(tell)

    def notify(self) -> None:
        """Something changed: pull now rather than at the next turn."""
        self._wakeup.set()

    async def keep(self) -> None:
        """Pull now, twice a second, and when the wakeup notifies, until cancelled. With auth away the list is kept."""
        while True:
            self._wakeup.clear()
            await self.pull()
            with suppress(TimeoutError):
                async with asyncio.timeout(PULL_EVERY_SECONDS):
                    await self._wakeup.wait()

    async def pull(self) -> None:
        """Ask auth for what ended since the last time."""
        try:
            for _ in range(PAGES_MAX):
                if not await self._pull_page():
                    break
            self.are_known = True
            self._is_unavailable = False
        except (Refusal, ValueError, KeyError, TypeError) as error:
            if not self._is_unavailable:
                log.warning("revocations_not_pulled", error=type(error).__name__)
            self._is_unavailable = True
        self._forget()

    async def ping(self) -> None:
        """Raise until the list was pulled; for `/readyz`."""
        if not self.are_known:
            raise LookupError("no list of ended sessions yet")

    async def _pull_page(self) -> bool:
        asked_at = time.monotonic()
        answer = await self._auth.call(
            "GET", "/internal/revocations", params={"after": str(self._after)}, seconds=PULL_SECONDS
        )
        # It told the time after it was asked: for us it is never earlier than for auth, so nothing lives too long.
        self._ahead_seconds = float(answer["now"]) - asked_at
        for item in answer["items"]:
            self.end(item["session_id"])
        self._after = answer["next"]
        return bool(answer["items"])

    def _forget(self) -> None:
        # Ended later means forgotten later, and a dictionary keeps the order: the oldest stand in front.
        now = time.monotonic()
        for session_id, forget_at in list(self._ended.items()):
            if forget_at > now:
                break
            del self._ended[session_id]


SESSIONS: web.AppKey[Sessions] = web.AppKey("sessions")
