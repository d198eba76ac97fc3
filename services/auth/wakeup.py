"""Wakes gateways to poll the revocations at once; they poll every second in any case."""

from __future__ import annotations

from services.chassis import wakeup

CHANNEL = "payflow:revocations"


class Wakeup(wakeup.Wakeup):
    """The wake-up channel of revocations."""

    def __init__(self, url: str | None) -> None:
        super().__init__(url, CHANNEL)
