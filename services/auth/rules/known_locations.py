"""Pure: a place is an account at a network address, told apart from others without telling which.

Who logged in from a place before is not held up by strangers who guess at the same account from elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ADDRESS_LENGTH_MAX = 64
REMEMBERED_DAYS = 90
"""So long after the last login a place is known."""

REMEMBERED_MAX = 50
"""So many places an account has; the ones used last stay."""

_PURPOSE = b"payflow auth: places of logins, version 1"
_KEY_BYTES = 32


class Places:
    """Names places by a keyed hash: neither the address nor that two people share one can be read from the database."""

    def __init__(self, secret: str) -> None:
        self._key = HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=_PURPOSE).derive(secret.encode())

    def name(self, email: str, address: str) -> bytes:
        """The name of this place. The e-mail address is normalised, the network address as the gateway writes it."""
        return hmac.digest(self._key, f"{email}\n{address}".encode(), hashlib.sha256)
