"""Pure: which addresses can be registered. Those that no e-mail can reach belong to the canary."""

from __future__ import annotations

import hmac

from services.auth.rules.emails import is_reachable
from services.contracts import probes


class Probes:
    """The probe accounts."""

    def __init__(self, secret: str | None) -> None:
        """`secret` is that of the canary; without it there are no probe accounts."""
        self._secret = secret

    def may_register(self, email: str, password: str) -> bool:
        """Whether a normalised address can be registered with this password: any address that an e-mail can reach.

        Otherwise another user could register the address of a probe account before the canary does.
        """
        if is_reachable(email):
            return True
        if self._secret is None:
            return False
        return hmac.compare_digest(probes.password(self._secret, email).encode(), password.encode())
