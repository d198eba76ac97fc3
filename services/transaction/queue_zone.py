"""What a queue's depth and age mean to the person who watches it, pure."""

from __future__ import annotations

BUSY_FROM = 50
DELAYED_FROM = 200
DELAYED_AGE_SECONDS = 5.0


def zone(transfers: int, oldest_seconds: float) -> str:
    """`normal`, `busy` or `delayed`: a deep queue that moves is busy; delayed needs depth and age."""
    if transfers < BUSY_FROM:
        return "normal"
    if transfers >= DELAYED_FROM and oldest_seconds > DELAYED_AGE_SECONDS:
        return "delayed"
    return "busy"


def seconds_of_work(transfers: int, drain_per_second: float) -> float | None:
    """How long the depth takes at this rate; None while nothing drains and something waits."""
    if not transfers:
        return 0.0
    return transfers / drain_per_second if drain_per_second > 0 else None
