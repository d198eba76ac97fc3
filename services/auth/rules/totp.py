"""Pure: the second factor: time-based codes (RFC 6238) with the parameters of authenticator apps, and recovery codes."""

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
"""A code is accepted one step early and one step late: clocks differ, and users need time to type."""

SECRET_BYTES = 20
RECOVERY_CODES = 10
RECOVERY_BYTES = 10
"""80 random bits are too many to search, so a plain hash of a code can be stored."""

RECOVERY_GROUP = 4
ISSUER = "PayFlow"


def new_secret() -> bytes:
    """Create a secret of the length that RFC 4226 recommends."""
    return secrets.token_bytes(SECRET_BYTES)


def secret_text(secret: bytes) -> str:
    """The secret as text, to type into an authenticator app."""
    return base64.b32encode(secret).decode()


def provisioning_uri(secret: bytes, account: str) -> str:
    """The URI for the QR code of an authenticator app."""
    return _generator(secret).get_provisioning_uri(account, ISSUER)


def find_step(secret: bytes, code: str, *, now: int) -> int | None:
    """The time step of this code among those accepted at `now` (Unix seconds); None if the code is wrong."""
    typed = code.replace(" ", "").encode()
    current = now // STEP_SECONDS
    found = None
    # Always all steps, so that the time reveals nothing.
    for step in range(current - WINDOW_STEPS, current + WINDOW_STEPS + 1):
        if constant_time.bytes_eq(_generator(secret).generate(step * STEP_SECONDS), typed):
            found = step
    return found


def new_recovery_codes() -> list[str]:
    """Create recovery codes, in groups that are easy to copy."""
    return [
        _grouped(base64.b32encode(secrets.token_bytes(RECOVERY_BYTES)).decode().lower()) for _ in range(RECOVERY_CODES)
    ]


def hash_recovery_code(user_id: UUID, code: str) -> bytes:
    """The stored form of a recovery code, whatever its spelling."""
    spelled = code.replace(" ", "").replace("-", "").lower()
    return hashlib.sha256(user_id.bytes + spelled.encode()).digest()


def _generator(secret: bytes) -> TOTP:
    return TOTP(secret, DIGITS, SHA1(), STEP_SECONDS)  # noqa: S303 - what authenticator apps use (RFC 6238)


def _grouped(text: str) -> str:
    return "-".join(text[start : start + RECOVERY_GROUP] for start in range(0, len(text), RECOVERY_GROUP))
