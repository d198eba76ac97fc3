"""People whose every request is timed: what a drill compares before, during and after a fault."""

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

from tests.harness.api import Answer, ApiClient, Person
from tests.harness.drills import FULL

NO_ANSWER = 0
FUNDS = 10_000_000


@dataclass(frozen=True, slots=True)
class Call:
    """One request and what came of it; `began_at` on the monotonic clock, status 0 when no answer came."""

    began_at: float
    seconds: float
    method: str
    status: int
    code: str | None
    retry_after: str | None


@dataclass(slots=True)
class TimedPerson(Person):
    """Somebody logged in who notes how long each request took."""

    calls: list[Call] = field(default_factory=list, repr=False)

    async def send(self, method: str, path: str, **request: Any) -> Answer:
        """As the gateway does, with a note of it."""
        began = time.monotonic()
        answer: Answer | None = None
        try:
            answer = await ApiClient.send(self, method, path, **request)
        except (aiohttp.ClientError, TimeoutError) as error:
            self._note(began, method, None, type(error).__name__)
            raise
        code = answer.body.get("code") if isinstance(answer.body, dict) else None
        self._note(began, method, answer, code)
        return answer

    def _note(self, began: float, method: str, answer: Answer | None, code: str | None) -> None:
        took = time.monotonic() - began
        status = answer.status if answer else NO_ANSWER
        self.calls.append(
            Call(began, took, method, status, code, answer.headers.get("Retry-After") if answer else None)
        )


@dataclass(frozen=True, slots=True)
class Phase:
    """The calls that began within a stretch of time."""

    calls: Sequence[Call]

    @property
    def statuses(self) -> Counter[int]:
        """How often each status was answered."""
        return Counter(call.status for call in self.calls)

    @property
    def faults(self) -> list[Call]:
        """The calls that a client would call failed: no answer, or 5xx."""
        return [call for call in self.calls if call.status == NO_ANSWER or call.status >= 500]

    @property
    def slowest(self) -> float:
        """Seconds of the slowest call."""
        return max((call.seconds for call in self.calls), default=0.0)

    def percentile(self, percent: float, method: str = "POST") -> float:
        """Seconds within which so many of a hundred calls were answered."""
        took = sorted(call.seconds for call in self.calls if call.method == method)
        return took[math.ceil(len(took) * percent / 100) - 1] if took else 0.0

    def figures(self) -> dict[str, Any]:
        """What there is to tell, times in milliseconds."""
        return {
            "calls": len(self.calls),
            "statuses": dict(sorted(self.statuses.items())),
            "p50_ms": round(self.percentile(50) * 1000, 1),
            "p99_ms": round(self.percentile(99) * 1000, 1),
            "slowest_ms": round(self.slowest * 1000, 1),
        }


async def company(api: ApiClient, operator: Person, count: int) -> list[TimedPerson]:
    """So many new people with money, who note their calls in one list."""
    calls: list[Call] = []
    people = []
    for number in range(count):
        person = await api.register(f"Drill {number}")
        known = {member.name: getattr(person, member.name) for member in dataclasses.fields(person)}
        people.append(TimedPerson(**known, calls=calls))
    await asyncio.gather(*(operator.fund(person, FUNDS) for person in people))
    calls.clear()
    return people


class Lateness:
    """How late this process wakes from short sleeps: what the machine and the driver themselves add to every figure."""

    EVERY_SECONDS = 0.05

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def watch(self) -> None:
        """Note it until cancelled."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(self.EVERY_SECONDS)
            self.seconds.append(time.monotonic() - before - self.EVERY_SECONDS)


@asynccontextmanager
async def lateness() -> AsyncIterator[Lateness]:
    """The lateness while the block runs."""
    noted = Lateness()
    watching = asyncio.create_task(noted.watch())
    try:
        yield noted
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def phase(people: Sequence[TimedPerson], since: float, until: float = math.inf) -> Phase:
    """What these people did from one moment to another."""
    return Phase([call for call in people[0].calls if since <= call.began_at < until])


def tell(drill: str, **figures: Any) -> None:
    """Print the figures of a full drill, to be written down."""
    if FULL:
        print(f"\n{time.strftime('%Y-%m-%d %H:%M:%S')} {drill}: {json.dumps(figures, default=str)}")
