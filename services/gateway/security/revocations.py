"""Revoked sessions and API keys whose access tokens may still be alive, polled from auth."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import structlog
from aiohttp import web

from services.contracts.refusal import Refusal
from services.gateway.clients.auth import AuthClient

PULL_SECONDS = 0.4
"""The deadline of one pull; with the pause before it, a revocation is known within a second."""

PULL_EVERY_SECONDS = 0.5
PAGES_MAX = 100
KEPT_SECONDS = 900.0
"""Longer than any access token lives."""

log = structlog.get_logger()


class Revocations:
    """The ids of revoked sessions and API keys."""

    def __init__(self, auth: AuthClient) -> None:
        self._auth = auth
        self._forget_at: dict[str, float] = {}
        self._after = 0
        self._ahead_seconds = 0.0
        self._wakeup = asyncio.Event()
        self._is_unavailable = False
        self._subscribers: list[Callable[[str], None]] = []
        self.are_known = False
        """Whether the list has ever been pulled."""

    def is_revoked(self, session_id: str) -> bool:
        """Whether the session or API key was revoked."""
        return session_id in self._forget_at

    def now(self) -> float:
        """The Unix time by the clock that dates access tokens; not valid before the first pull.

        The local clock may be wrong: an hour slow, it would revive a token after its revocation is forgotten.
        """
        return time.monotonic() + self._ahead_seconds

    def add(self, session_id: str) -> None:
        """Revoke a session or API key in this process at once; the others learn of it from auth."""
        self._forget_at[session_id] = time.monotonic() + KEPT_SECONDS
        for on_revoked in self._subscribers:
            on_revoked(session_id)

    def subscribe(self, on_revoked: Callable[[str], None]) -> None:
        """Call `on_revoked` with each id as soon as it is known here, perhaps more than once."""
        self._subscribers.append(on_revoked)

    def notify(self) -> None:
        """Pull now rather than at the next interval."""
        self._wakeup.set()

    async def run(self) -> None:
        """Pull now, twice a second, and at each wake-up, until cancelled. While auth is unavailable the list is kept."""
        while True:
            self._wakeup.clear()
            await self.pull()
            with suppress(TimeoutError):
                async with asyncio.timeout(PULL_EVERY_SECONDS):
                    await self._wakeup.wait()

    async def pull(self) -> None:
        """Fetch the revocations since the last pull."""
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
        """Raise until the list has been pulled; for `/readyz`."""
        if not self.are_known:
            raise LookupError("no list of revocations yet")

    async def _pull_page(self) -> bool:
        sent_at = time.monotonic()
        page = await self._auth.list_revocations(after=self._after, seconds=PULL_SECONDS)
        # Auth read its clock after this request was sent, so it is never later here than there: no token lives too long.
        self._ahead_seconds = page.now - sent_at
        for session_id in page.ids:
            self.add(session_id)
        self._after = page.next_after
        return bool(page.ids)

    def _forget(self) -> None:
        # A dictionary keeps the order of insertion, so the oldest come first.
        now = time.monotonic()
        for session_id, forget_at in list(self._forget_at.items()):
            if forget_at > now:
                break
            del self._forget_at[session_id]


REVOCATIONS: web.AppKey[Revocations] = web.AppKey("revocations")
