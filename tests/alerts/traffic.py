"""Normal load: users who pay each other and read their notifications, at a steady rate."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from uuid import uuid4

import aiohttp

from tests.harness.api import ApiClient, Person

USERS = 6
PER_SECOND = 5.0
FUNDS = 1_000_000
REQUEST_SECONDS_MAX = 12.0


class Traffic:
    """The load of a run. It does not retry: what fails is counted by its status."""

    def __init__(self, people: Sequence[Person]) -> None:
        self.people = people
        self.statuses: Counter[str] = Counter()
        self._running = asyncio.Event()
        self._running.set()
        self._simulated: dict[str, int] = {}
        self._paid = 0

    async def run(self) -> None:
        """Send until cancelled: one transfer after another, and as many reads."""
        chance = random.Random(1)
        async with asyncio.TaskGroup() as sending:
            while True:
                await self._running.wait()
                sender, receiver = chance.sample(self.people, 2)
                sending.create_task(self._pay(sender, receiver))
                sending.create_task(self._read(sender))
                await asyncio.sleep(1 / PER_SECOND)

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """No requests during the block, apart from those under way."""
        self._running.clear()
        try:
            yield
        finally:
            self._running.set()

    @contextmanager
    def simulating(self, word: str, *, every: int) -> Iterator[None]:
        """Simulate a failure on one of so many payments (docs/simulated-failures.md)."""
        self._simulated[word] = every
        try:
            yield
        finally:
            del self._simulated[word]

    async def pay(self, count: int) -> None:
        """Send so many transfers at once, whatever becomes of them."""
        first, second = self.people[:2]
        await asyncio.gather(*(self._pay(first, second) for _ in range(count)))

    async def _pay(self, sender: Person, receiver: Person) -> None:
        self._paid += 1
        headers = {}
        for word, every in self._simulated.items():
            if self._paid % every == 0:
                headers["PayFlow-Simulate"] = word
        body = {"amount": 1, "currency": "USD", "to": {"wallet_id": receiver.wallet_id}}
        with suppress(aiohttp.ClientError, TimeoutError):
            response = await sender.post("/transfers", body, key=uuid4().hex, headers=headers)
            self.statuses[str(response.status)] += 1

    async def _read(self, person: Person) -> None:
        with suppress(aiohttp.ClientError, TimeoutError):
            self.statuses[str((await person.get("/notifications")).status)] += 1


@asynccontextmanager
async def users(gateway: str) -> AsyncIterator[tuple[Person, Sequence[Person]]]:
    """The operator, and new users with money."""
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        api = ApiClient(session, gateway)
        operator = await api.login("ops@example.com", "payflow-demo-1")
        people = [await api.register(f"User {number}") for number in range(USERS)]
        for person in people:
            await operator.fund(person, FUNDS)
        yield operator, people
