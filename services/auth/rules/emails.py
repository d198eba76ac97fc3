"""Pure: letters to people: what they are for, how long they hold, how often one is written.

Some carry a token that works once. The others only tell what was done to an account, to who may not have done it.
"""

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


TOLD_PER_DAY_MAX = 20
"""So many letters of a kind without a token a day: whoever changes a password in a loop floods no mailbox."""


class Kind(StrEnum):
    """What the token of a letter is good for, or what a letter without one tells."""

    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - a kind of letter
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a kind of letter
    API_KEY_CREATED = "api_key_created"
    TOTP_REMOVED = "totp_removed"
    RECOVERY_CODES_RENEWED = "recovery_codes_renewed"
    RECOVERY_CODE_USED = "recovery_code_used"


WITHOUT_TOKEN = frozenset(
    {
        Kind.PASSWORD_CHANGED,
        Kind.API_KEY_CREATED,
        Kind.TOTP_REMOVED,
        Kind.RECOVERY_CODES_RENEWED,
        Kind.RECOVERY_CODE_USED,
    }
)

LIFE_SECONDS = MappingProxyType(
    {
        Kind.VERIFY_EMAIL: 24 * 3600,
        Kind.RESET_PASSWORD: 30 * 60,
        **dict.fromkeys(WITHOUT_TOKEN, 7 * 24 * 3600),
    }
)
"""How long a token holds, from the moment its letter is written; and how long sending one without is tried."""


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
