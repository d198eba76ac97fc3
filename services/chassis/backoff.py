"""Exponential backoff."""

from __future__ import annotations

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 2.0
_DOUBLINGS_MAX = 32


def seconds(failures: int, *, first: float = FIRST_SECONDS, longest: float = LONGEST_SECONDS) -> float:
    """The pause before the next attempt: doubled with each failure, at most `longest`."""
    return float(min(first * 2 ** min(failures, _DOUBLINGS_MAX), longest))
