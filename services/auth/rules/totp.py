"""Rules of the second factor: the codes of RFC 6238 as every authenticator makes them, and the codes for when it is lost."""

from __future__ import annotations

import base64
import hashlib
import secrets
from uuid import UUID

from cryptography.hazmat.primitives import constant_time
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

STEP_SECONDS = 30
DIGITS = 6
WINDOW_STEPS = 1
"""A code counts one step early and one step late: clocks differ, and people type slowly."""

SECRET_BYTES = 20
RECOVERY_CODES = 10
RECOVERY_BYTES = 10
"""80 random bits: too many to search for, so a plain hash of them may be stored."""

RECOVERY_GROUP = 4
CODE_LENGTH_MAX = 40
ISSUER = "PayFlow"


def new_secret() -> bytes:
    """A fresh secret, as long as RFC 4226 recommends."""
    return secrets.token_bytes(SECRET_BYTES)


def secret_text(secret: bytes) -> str:
    """The secret as people type it into an authenticator."""
    return base64.b32encode(secret).decode()


def provisioning_uri(secret: bytes, account: str) -> str:
    """What a QR code holds for an authenticator."""
    return _generator(secret).get_provisioning_uri(account, ISSUER)


def find_step(secret: bytes, code: str, *, now: int) -> int | None:
    """The time step that this code belongs to, of those that count at `now` (Unix seconds); None when it is none of theirs."""
    typed = code.replace(" ", "").encode()
    current = now // STEP_SECONDS
    found = None
    # All of them, whichever fits: the time this takes tells nothing.
    for step in range(current - WINDOW_STEPS, current + WINDOW_STEPS + 1):
        if constant_time.bytes_eq(_generator(secret).generate(step * STEP_SECONDS), typed):
            found = step
    return found


def new_recovery_codes() -> list[str]:
    """Fresh codes, in groups that can be copied from paper."""
    return [
        _grouped(base64.b32encode(secrets.token_bytes(RECOVERY_BYTES)).decode().lower()) for _ in range(RECOVERY_CODES)
    ]


def hash_recovery_code(user_id: UUID, code: str) -> bytes:
    """What is stored of a recovery code, however it is spelled."""
    spelled = code.replace(" ", "").replace("-", "").lower()
    return hashlib.sha256(user_id.bytes + spelled.encode()).digest()


def _generator(secret: bytes) -> TOTP:
    return TOTP(secret, DIGITS, SHA1(), STEP_SECONDS)  # noqa: S303 - what authenticators speak (RFC 6238)


def _grouped(text: str) -> str:
    return "-".join(text[start : start + RECOVERY_GROUP] for start in range(0, len(text), RECOVERY_GROUP))
