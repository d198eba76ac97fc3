"""Simulated failures, in demo mode: a client can request an unlikely path, and it is really taken. Pure.

No simulation decides an outcome. The ledger decides a transfer whose funds were not checked as it decides any other; a delayed
command is posted late, or voided when it has expired. See docs/simulated-failures.md.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

DELAY_SECONDS_MAX = 120.0
"""The longest delay of a command."""

EXPIRES_SECONDS_MAX = 60.0
"""The latest expiry."""


class Simulation(NamedTuple):
    """How the acceptance of one transfer differs from the usual one."""

    unchecked: bool = False
    """Skip the early check of funds and freezes, so that the ledger rejects the transfer."""

    delay_seconds: float = 0.0
    """Delay of the command in the outbox."""

    expires_seconds: float | None = None
    """The expiry, from acceptance; None: the usual one."""

    def lifetime(self, usual: timedelta) -> timedelta:
        """How long after acceptance the ledger may post the transfer."""
        return usual if self.expires_seconds is None else timedelta(seconds=self.expires_seconds)


NONE = Simulation()
"""No simulation."""
