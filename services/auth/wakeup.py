"""The wakeup that tells gateways to look at the revocations now. They look every second anyway."""

from __future__ import annotations

from services.chassis import wakeup

CHANNEL = "payflow:revocations"


class Wakeup(wakeup.Wakeup):
    """Rings when a session has ended."""

    def __init__(self, url: str | None) -> None:
        super().__init__(url, CHANNEL)
