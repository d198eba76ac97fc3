"""How much a load slows the reading of a wallet: measured in turns without and with the load."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tests.harness.api import Person
from tests.harness.drills import bound

PERIOD_SECONDS = bound(2.0, 20.0)
PERIODS = bound(1, 3)
READS_PER_SECOND = 50
FACTOR_MAX = 2.0

Load = TypeVar("Load")


@dataclass(slots=True)
class Slowdown(Generic[Load]):
    """The duration of each read in seconds, and the result of each load."""

    calm: list[float] = field(default_factory=list)
    loaded: list[float] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)

    @property
    def factor(self) -> float:
        """The ratio of the 99th percentiles with and without load."""
        return p99_ms(self.loaded) / p99_ms(self.calm)

    def __str__(self) -> str:
        return (
            f"p99 of reading a wallet {p99_ms(self.calm):.1f} ms calm, {p99_ms(self.loaded):.1f} ms loaded"
            f" ({self.factor:.2f}x; medians {statistics.median(self.calm) * 1000:.1f} and"
            f" {statistics.median(self.loaded) * 1000:.1f} ms)"
        )


async def measure(person: Person, load: Callable[[], AbstractAsyncContextManager[Load]]) -> Slowdown[Load]:
    """Measure in turns, so that other activity on the machine affects both kinds of periods alike."""
    slowdown = Slowdown[Load]()
    for _ in range(PERIODS):
        slowdown.calm += await read(person, seconds=PERIOD_SECONDS)
        async with load() as loaded:
            slowdown.loaded += await read(person, seconds=PERIOD_SECONDS)
        slowdown.loads.append(loaded)
    return slowdown


async def read(person: Person, *, seconds: float) -> list[float]:
    """Read the wallet `READS_PER_SECOND` times a second, regardless of responses; return the durations in seconds."""
    took: list[float] = []

    async def look(begins_at: float) -> None:
        await asyncio.sleep(max(0.0, begins_at - time.monotonic()))
        began = time.monotonic()
        response = await person.get(f"/wallets/{person.wallet_id}")
        took.append(time.monotonic() - began)
        assert 200 == response.status, response

    now = time.monotonic()
    await asyncio.gather(*(look(now + number / READS_PER_SECOND) for number in range(int(seconds * READS_PER_SECOND))))
    return took


def p99_ms(took: list[float]) -> float:
    """The 99th percentile of durations in seconds, in milliseconds."""
    return statistics.quantiles(took, n=100)[98] * 1000
