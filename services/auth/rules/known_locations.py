"""Pure: a known location is an account at a network address, stored as a keyed hash.

A user who has logged in from a location before is not delayed by failed logins of others at the same account.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ADDRESS_LENGTH_MAX = 64
REMEMBERED_DAYS = 90
"""How long after the last login a location is known."""

REMEMBERED_MAX = 50
"""Known locations of an account; the most recently used ones are kept."""

# Part of the key derivation: another text would forget all known locations.
_PURPOSE = b"payflow auth: places of logins, version 1"
_KEY_BYTES = 32


class LocationHasher:
    """Hashes locations with a key: the database reveals neither an address nor that two users share one."""

    def __init__(self, secret: str) -> None:
        self._key = HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=_PURPOSE).derive(secret.encode())

    def hash(self, email: str, address: str) -> bytes:
        """The hash of a location. The e-mail address is normalised, the network address is spelled as by the gateway."""
        return hmac.digest(self._key, f"{email}\n{address}".encode(), hashlib.sha256)
