"""Pure: e-mails to users: their kinds, how long they are valid, and how often one is sent.

Some have a single-use token. The others are security notifications, which report a change to an account.
"""

from __future__ import annotations

import hashlib
import secrets
from enum import StrEnum
from types import MappingProxyType

from services.contracts import limits

TOKEN_BYTES = 32

PAUSE_SECONDS_MIN = 60.0
PAUSE_SECONDS_MAX = 900.0
"""Half of the shortest lifetime: a user who has to wait has a token that stays valid for at least as long."""


SECURITY_EMAILS_PER_DAY_MAX = 20
"""Security notifications of a kind in a day, so that repeated changes cannot flood a mailbox."""


class Kind(StrEnum):
    """What the token of an e-mail is for, or what a security notification reports."""

    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - a kind of e-mail
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - a kind of e-mail
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
        Kind.VERIFY_EMAIL: limits.VERIFY_EMAIL_SECONDS,
        Kind.RESET_PASSWORD: limits.RESET_PASSWORD_SECONDS,
        **dict.fromkeys(WITHOUT_TOKEN, 7 * 24 * 3600),
    }
)
"""How long a token is valid, and how long sending a security notification is attempted, from its creation on."""


def is_reachable(address: str) -> bool:
    """Whether an e-mail can reach the address: the domain `invalid` is reserved (RFC 2606), and probe accounts are in it."""
    return not address.lower().endswith(".invalid")


def new_token() -> str:
    """Create a token."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def hash_token(token: str) -> bytes:
    """The stored form of a token. A token is long and random, so a plain hash is sufficient."""
    return hashlib.sha256(token.encode()).digest()


def is_due(*, day_count: int, live_age_seconds: float | None) -> bool:
    """Whether another e-mail of a kind can be sent to a user who was sent `day_count` of them within a day.

    Anyone can request one, so the pause grows while the token of the last e-mail is valid, and a mailbox is not flooded. The
    user is not locked out: if no e-mail is sent, the last token stays valid for at least `PAUSE_SECONDS_MAX`.
    """
    if live_age_seconds is None:
        return True
    pause_seconds: float = PAUSE_SECONDS_MIN * 2 ** min(max(day_count - 1, 0), 10)
    return live_age_seconds >= min(pause_seconds, PAUSE_SECONDS_MAX)
