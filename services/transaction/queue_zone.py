"""What the depth and age of a queue mean to operators. Pure."""

from __future__ import annotations

BUSY_FROM = 50
DELAYED_FROM = 200
DELAYED_AGE_SECONDS = 5.0


def zone(transfers: int, oldest_seconds: float) -> str:
    """`normal`, `busy` or `delayed`. A deep queue that drains is busy; delayed requires depth and age."""
    if transfers < BUSY_FROM:
        return "normal"
    if transfers >= DELAYED_FROM and oldest_seconds > DELAYED_AGE_SECONDS:
        return "delayed"
    return "busy"


def seconds_of_work(transfers: int, drain_per_second: float) -> float | None:
    """How long the queue takes to drain at this rate; None while it does not drain."""
    if not transfers:
        return 0.0
    return transfers / drain_per_second if drain_per_second > 0 else None
