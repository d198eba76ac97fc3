"""Pure: letters to people, each with a token that works once: what they are for, how long they hold, how often one is written."""

from __future__ import annotations

import hashlib
import secrets
from enum import StrEnum
from types import MappingProxyType

TOKEN_BYTES = 32
TOKEN_LENGTH_MAX = 200

PAUSE_SECONDS_MIN = 60.0
PAUSE_SECONDS_MAX = 900.0
"""Half of the shortest life: whoever is told to wait has a letter whose token holds for at least as long again."""


class Kind(StrEnum):
    """What the token of a letter is good for."""

    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - a kind of letter


LIFE_SECONDS = MappingProxyType({Kind.VERIFY_EMAIL: 24 * 3600, Kind.RESET_PASSWORD: 30 * 60})
"""How long a token holds, from the moment its letter is written."""


def new_token() -> str:
    """A fresh token."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def hash_token(token: str) -> bytes:
    """What a token is recognised by. It is random and long: a plain hash cannot be searched backwards."""
    return hashlib.sha256(token.encode()).digest()


def is_due(*, day_count: int, live_age_seconds: float | None) -> bool:
    """Whether another letter of a kind may be written to somebody who was written `day_count` within a day.

    A stranger can ask, too. So the pause grows, while the token of the letter before still holds: a mailbox is not flooded,
    and its owner is not locked out, who has a letter that works for at least `PAUSE_SECONDS_MAX` whenever none is written.
    """
    if live_age_seconds is None:
        return True
    pause_seconds: float = PAUSE_SECONDS_MIN * 2 ** min(max(day_count - 1, 0), 10)
    return live_age_seconds >= min(pause_seconds, PAUSE_SECONDS_MAX)
