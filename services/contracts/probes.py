"""The probe accounts of the canary: only the owner of its secret can register them."""

from __future__ import annotations

import hashlib
import hmac


def password(secret: str, email: str) -> str:
    """The password of a probe account. With it, and with no other, auth registers an address in the domain `invalid`."""
    return hmac.new(secret.encode(), email.encode(), hashlib.sha256).hexdigest()
