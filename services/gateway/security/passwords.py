"""The way to auth for passwords: so many at a time from this gateway; who comes beyond that is told when to come back."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from services.contracts.refusals.auth import TooManyLogins
from services.gateway.settings import PASSWORDS_MAX

RETRY_AFTER_SECONDS = range(2, 7)
"""When to come back: one of these each, or all who were refused together would come back together, again and again."""


class Passwords:
    """Whoever shows, sets or changes a password holds a place until auth has answered."""

    def __init__(self, *, under_way_max: int = PASSWORDS_MAX) -> None:
        self._under_way_max = under_way_max
        self._under_way = 0

    @property
    def is_full(self) -> bool:
        """Whether whoever comes now may be refused unread."""
        return self._under_way >= self._under_way_max

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one place. It is taken only when the body is there: who sends slowly takes none from others.

        Raises:
            TooManyLogins: there is none.
        """
        if self.is_full:
            raise busy()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1


def busy() -> TooManyLogins:
    """What those are told who would wait in vain."""
    return TooManyLogins(retry_after_seconds=secrets.choice(RETRY_AFTER_SECONDS))


PASSWORDS: web.AppKey[Passwords] = web.AppKey("passwords")
