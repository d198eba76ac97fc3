"""What the receiver of Alertmanager has been notified of: its log, with the time at which each line appeared."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.harness.prometheus import Prometheus

POLL_SECONDS = 0.2
"""The precision of all times."""

FIRING = "firing"
RESOLVED = "resolved"
UNSENT = "AlertmanagerDown"
WATCHDOG = "Watchdog"
WATCHDOG_EVENTS = {"watchdog_missing": FIRING, "watchdog_received": RESOLVED}
"""The receiver reports when the alert that always fires is missing."""


@dataclass(frozen=True, slots=True)
class Expected:
    """An alert, with the labels that tell it from others of its name."""

    alert: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        labels = " ".join(f"{name}={value}" for name, value in self.labels.items())
        return f"{self.alert} {labels}".strip()


@dataclass(frozen=True, slots=True)
class Notified:
    """One alert of a notification."""

    at: float
    """Of the monotonic clock."""
    alert: str
    status: str
    labels: Mapping[str, str]

    def matches(self, expected: Expected) -> bool:
        """Whether this is the alert, with at least these labels."""
        return self.alert == expected.alert and expected.labels.items() <= self.labels.items()


class Notifications:
    """All that the receiver has written since it was started."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read = 0
        self.received: list[Notified] = []

    async def follow(self) -> None:
        """Read what is appended to the log, until cancelled."""
        while True:
            self.read()
            await asyncio.sleep(POLL_SECONDS)

    async def follow_unsent(self, prometheus: Prometheus) -> None:
        """Record the alert that Alertmanager is down from the page of Prometheus: it is the one that cannot be notified."""
        firing = False
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                now = bool(await prometheus.query(f'ALERTS{{alertname="{UNSENT}", alertstate="firing"}}'))
                if now != firing:
                    self.received.append(Notified(time.monotonic(), UNSENT, FIRING if now else RESOLVED, {}))
                firing = now
            await asyncio.sleep(POLL_SECONDS)

    def open(self) -> list[Notified]:
        """The alerts that were notified and not resolved since, each by its newest notification."""
        newest = {(each.alert, frozenset(each.labels.items())): each for each in self.received}
        return [each for each in newest.values() if each.status == FIRING]

    def end(self, *, all_but: Collection[str]) -> None:
        """Record the end of all alerts but these: one that is inhibited when it ends is never notified as resolved."""
        ended = [each for each in self.open() if each.alert not in all_but]
        self.received += [Notified(time.monotonic(), each.alert, RESOLVED, each.labels) for each in ended]

    def is_open(self, expected: Expected) -> bool:
        """Whether such an alert was notified and not resolved since."""
        return any(each.matches(expected) for each in self.open())

    async def fired(self, expected: Expected, *, since: float, seconds_max: float) -> float | None:
        """Seconds from `since` until the receiver had the alert; None if it did not get it in time."""
        while time.monotonic() < since + seconds_max:
            for each in self.received:
                if each.at >= since and each.status == FIRING and each.matches(expected):
                    return each.at - since
            await asyncio.sleep(POLL_SECONDS)
        return None

    async def resolved(self, expected: Expected, *, since: float, seconds_max: float) -> float | None:
        """Seconds from `since` until the receiver had the end of each such alert; None if it did not get it in time."""
        while time.monotonic() < since + seconds_max:
            if not self.is_open(expected):
                ends = [each.at for each in self.received if each.status == RESOLVED and each.matches(expected)]
                return max(0.0, max(ends, default=since) - since)
            await asyncio.sleep(POLL_SECONDS)
        return None

    def read(self) -> None:
        """Read the whole lines that were appended since the last time."""
        if not self._log.exists():
            return
        with self._log.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        self.received += [_notified(json.loads(line)) for line in whole.splitlines() if line.startswith(b"{")]


def _notified(line: Mapping[str, Any]) -> Notified:
    if line["event"] in WATCHDOG_EVENTS:
        return Notified(time.monotonic(), WATCHDOG, WATCHDOG_EVENTS[line["event"]], {})
    return Notified(time.monotonic(), line["alertname"], line["status"], line["labels"])
