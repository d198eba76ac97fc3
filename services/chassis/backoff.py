"""How long to wait before the next try."""

from __future__ import annotations

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 2.0
_DOUBLINGS_MAX = 32


def seconds(failures: int, *, first: float = FIRST_SECONDS, longest: float = LONGEST_SECONDS) -> float:
    """Twice as long after each failure, up to `longest`, however many failures there were."""
    return float(min(first * 2 ** min(failures, _DOUBLINGS_MAX), longest))
