"""How long it takes to look into a wallet: in turns with nothing beside it, and with a load beside it."""

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

STRETCH_SECONDS = bound(2.0, 20.0)
TURNS = bound(1, 3)
READS_PER_SECOND = 50
SLOWER_MAX = 2.0

Load = TypeVar("Load")


@dataclass(slots=True)
class Stretches(Generic[Load]):
    """How long each look took, in seconds, and what each load yielded."""

    calm: list[float] = field(default_factory=list)
    loaded: list[float] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)

    @property
    def slower(self) -> float:
        """How many times longer the slowest hundredth takes under load."""
        return p99_ms(self.loaded) / p99_ms(self.calm)

    def __str__(self) -> str:
        return (
            f"p99 of reading a wallet {p99_ms(self.calm):.1f} ms calm, {p99_ms(self.loaded):.1f} ms loaded"
            f" ({self.slower:.2f}x; medians {statistics.median(self.calm) * 1000:.1f} and"
            f" {statistics.median(self.loaded) * 1000:.1f} ms)"
        )


async def in_turns(person: Person, load: Callable[[], AbstractAsyncContextManager[Load]]) -> Stretches[Load]:
    """Read in turns: what else the machine does hits calm and loaded stretches alike."""
    stretches = Stretches[Load]()
    for _ in range(TURNS):
        stretches.calm += await read(person, seconds=STRETCH_SECONDS)
        async with load() as loaded:
            stretches.loaded += await read(person, seconds=STRETCH_SECONDS)
        stretches.loads.append(loaded)
    return stretches


async def read(person: Person, *, seconds: float) -> list[float]:
    """Look into one's wallet so many times a second, whatever comes of it; how long each took, in seconds."""
    took: list[float] = []

    async def look(begins_at: float) -> None:
        await asyncio.sleep(max(0.0, begins_at - time.monotonic()))
        began = time.monotonic()
        answer = await person.get(f"/wallets/{person.wallet_id}")
        took.append(time.monotonic() - began)
        assert 200 == answer.status, answer

    now = time.monotonic()
    await asyncio.gather(*(look(now + number / READS_PER_SECOND) for number in range(int(seconds * READS_PER_SECOND))))
    return took


def p99_ms(took: list[float]) -> float:
    """The 99th percentile of what took so many seconds each, in milliseconds."""
    return statistics.quantiles(took, n=100)[98] * 1000
