"""What a front end may ask to see on purpose, in demo mode: an unlikely path that is really taken. Pure.

None of it decides anything. A transfer that nobody checked at the gateway is decided by the ledger like any other; one whose
command is held back is posted late, or voided when it has expired. See docs/simulated-failures.md.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

HELD_SECONDS_MAX = 120.0
"""How long a command may be held back."""

EXPIRES_SECONDS_MAX = 60.0
"""The latest expiry that may be asked for."""


class Simulation(NamedTuple):
    """How one transfer is accepted otherwise than usual."""

    unchecked: bool = False
    """The courtesy check of funds and freezes is left out: the ledger is the first to say no."""

    held_seconds: float = 0.0
    """So much later the relay sees the command."""

    expires_seconds: float | None = None
    """The expiry, counted from acceptance; None: the usual one."""

    def lifetime(self, usual: timedelta) -> timedelta:
        """How long the ledger posts it."""
        return usual if self.expires_seconds is None else timedelta(seconds=self.expires_seconds)


NONE = Simulation()
"""As usual."""
