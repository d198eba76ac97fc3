"""Caps concurrent password checks; above the cap the response is 503 with Retry-After."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from services.contracts import limits
from services.contracts.refusals.auth import TooManyLogins
from services.gateway.settings import PASSWORDS_MAX


class Passwords:
    """The slots for requests that check, set or change a password, each held until auth has responded."""

    def __init__(self, *, under_way_max: int = PASSWORDS_MAX) -> None:
        self._under_way_max = under_way_max
        self._under_way = 0

    @property
    def is_full(self) -> bool:
        """Whether new requests may be refused unread."""
        return self._under_way >= self._under_way_max

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one slot. It is taken only when the body has arrived: a slow client takes none from others.

        Raises:
            TooManyLogins: none is free.
        """
        if self.is_full:
            raise busy()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1


def busy() -> TooManyLogins:
    """The refusal of a request that would wait in vain."""
    return TooManyLogins(retry_after_seconds=secrets.choice(limits.TOO_MANY_LOGINS_RETRY_SECONDS))


PASSWORDS: web.AppKey[Passwords] = web.AppKey("passwords")
