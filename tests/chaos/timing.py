"""Users whose requests are timed, to compare figures before, during and after a fault."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.harness.api import ApiClient, Person, Response
from tests.harness.drills import FULL

NO_RESPONSE = 0
FUNDS = 10_000_000


@dataclass(frozen=True, slots=True)
class Call:
    """One request and its result; `began_at` is on the monotonic clock, `status` is 0 without a response."""

    began_at: float
    seconds: float
    method: str
    status: int
    code: str | None
    retry_after: str | None


@dataclass(slots=True)
class TimedPerson(Person):
    """A logged-in user that records the duration of each request."""

    calls: list[Call] = field(default_factory=list, repr=False)

    async def send(self, method: str, path: str, **request: Any) -> Response:
        """Send a request and record its duration."""
        began = time.monotonic()
        response: Response | None = None
        try:
            response = await ApiClient.send(self, method, path, **request)
        except (aiohttp.ClientError, TimeoutError) as error:
            self._record(began, method, None, type(error).__name__)
            raise
        code = response.body.get("code") if isinstance(response.body, dict) else None
        self._record(began, method, response, code)
        return response

    def _record(self, began: float, method: str, response: Response | None, code: str | None) -> None:
        duration = time.monotonic() - began
        status = response.status if response else NO_RESPONSE
        self.calls.append(
            Call(began, duration, method, status, code, response.headers.get("Retry-After") if response else None)
        )


@dataclass(frozen=True, slots=True)
class Phase:
    """The calls that began within a period."""

    calls: Sequence[Call]

    @property
    def statuses(self) -> Counter[int]:
        """The number of responses by status."""
        return Counter(call.status for call in self.calls)

    @property
    def faults(self) -> list[Call]:
        """The calls that failed: no response, or 5xx."""
        return [call for call in self.calls if call.status == NO_RESPONSE or call.status >= 500]

    @property
    def slowest(self) -> float:
        """Seconds of the slowest call."""
        return max((call.seconds for call in self.calls), default=0.0)

    def percentile(self, percent: float, method: str = "POST") -> float:
        """The given percentile of the durations, in seconds."""
        duration = sorted(call.seconds for call in self.calls if call.method == method)
        return duration[math.ceil(len(duration) * percent / 100) - 1] if duration else 0.0

    def figures(self) -> dict[str, Any]:
        """The figures to report, times in milliseconds."""
        return {
            "calls": len(self.calls),
            "statuses": dict(sorted(self.statuses.items())),
            "p50_ms": round(self.percentile(50) * 1000, 1),
            "p99_ms": round(self.percentile(99) * 1000, 1),
            "slowest_ms": round(self.slowest * 1000, 1),
        }


async def register_timed(api: ApiClient, operator: Person, count: int) -> list[TimedPerson]:
    """Register and fund users that record their calls in one shared list."""
    calls: list[Call] = []
    users = []
    for number in range(count):
        person = await api.register(f"Drill {number}")
        known = {member.name: getattr(person, member.name) for member in dataclasses.fields(person)}
        users.append(TimedPerson(**known, calls=calls))
    await asyncio.gather(*(operator.fund(person, FUNDS) for person in users))
    calls.clear()
    return users


class Lateness:
    """How late this process wakes from short sleeps: the delay that the machine and the driver add to every figure."""

    EVERY_SECONDS = 0.05

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def watch(self) -> None:
        """Record the delay until cancelled."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(self.EVERY_SECONDS)
            self.seconds.append(time.monotonic() - before - self.EVERY_SECONDS)


@asynccontextmanager
async def lateness() -> AsyncIterator[Lateness]:
    """Measure the lateness during the block."""
    measured = Lateness()
    watching = asyncio.create_task(measured.watch())
    try:
        yield measured
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def phase(users: Sequence[TimedPerson], since: float, until: float = math.inf) -> Phase:
    """The calls of these users within a period."""
    return Phase([call for call in users[0].calls if since <= call.began_at < until])


def report(drill: str, **figures: Any) -> None:
    """Print the figures of a full drill."""
    if FULL:
        print(f"\n{time.strftime('%Y-%m-%d %H:%M:%S')} {drill}: {json.dumps(figures, default=str)}")
