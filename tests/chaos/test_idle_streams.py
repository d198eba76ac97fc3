"""Many idle streams of live events: their cost, their effect on other users, and what they deliver once something happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from services.gateway.live import STREAMS_OF_USER_MAX
from tests.harness import usage
from tests.harness.api import ApiClient, Person
from tests.harness.drills import FULL, bound
from tests.harness.events import Event, Reader, listening
from tests.harness.slowdown import FACTOR_MAX, measure
from tests.harness.stack import Stack

STREAMS = bound(50, 500)
IDLE_SECONDS = bound(0.4, 20.0)
TRANSFERS = 100
ROLES = ("gateway", "notification")


@dataclass(slots=True)
class Listener:
    """A stream of one user and the events received on it."""

    person: Person
    reader: Reader
    position: int
    events: list[Event] = field(default_factory=list)


@asynccontextmanager
async def listeners(users: list[Person]) -> AsyncIterator[list[Listener]]:
    """Open and read as many streams as each user may have."""

    async def begin(person: Person) -> Listener:
        reader = await streams.enter_async_context(listening(person.session, person.base, person.token))
        return Listener(person, reader, await reader.position())

    async with AsyncExitStack() as streams:
        opened = await asyncio.gather(*(begin(person) for person in users for _ in range(STREAMS_OF_USER_MAX)))
        following = [asyncio.create_task(each.reader.follow(each.events)) for each in opened]
        try:
            yield opened
            assert not any(task.done() for task in following), "a stream has ended"
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)


async def cpu_of_idling(stack: Stack) -> list[float]:
    """CPU seconds per second of each role involved in streams, without any requests."""
    before = [usage.of(stack["pids"][role]).cpu_seconds for role in ROLES]
    await asyncio.sleep(IDLE_SECONDS)
    after = [usage.of(stack["pids"][role]).cpu_seconds for role in ROLES]
    return [(last - first) / IDLE_SECONDS for first, last in zip(before, after, strict=True)]


async def pay_some(alice: Person, users: list[Person]) -> dict[str, set[str]]:
    """Send transfers to every second user; return the received ids by user."""
    paid: dict[str, set[str]] = {person.user_id: set() for person in users}

    async def pay(person: Person) -> None:
        response = await alice.send_money(person, 1, wait=30)
        assert "COMPLETED" == response.body["status"], response
        paid[person.user_id].add(response.body["id"])

    receivers = users[::2]
    await asyncio.gather(*(pay(receivers[number % len(receivers)]) for number in range(TRANSFERS)))
    return paid


async def all_received(opened: list[Listener], paid: dict[str, set[str]]) -> None:
    """Wait until each stream has two events for each transfer: the outcome and the notification."""
    async with asyncio.timeout(60):
        while any(len(each.events) < 2 * len(paid[each.person.user_id]) for each in opened):
            await asyncio.sleep(0.05)


@pytest.mark.timeout(400)
async def test_idle_streams(stack: Stack, api: ApiClient, alice: Person) -> None:
    """Guarantee 58: idle streams slow no other user; each later receives all its own events once, and no other user's."""
    users = [await api.register() for _ in range(STREAMS // STREAMS_OF_USER_MAX)]
    memory = usage.of(stack["pids"]["gateway"]).memory_bytes
    alone = await cpu_of_idling(stack)
    async with listeners(users) as opened:
        memory = usage.of(stack["pids"]["gateway"]).memory_bytes - memory
        idle = [more - less for more, less in zip(await cpu_of_idling(stack), alone, strict=True)]
        paid = await pay_some(alice, users)
        await all_received(opened, paid)
    for each in opened:
        completed = [event.data["id"] for event in each.events if event.type == "transfer.completed"]
        assert sorted(paid[each.person.user_id]) == sorted(completed)
        assert [each.position + 1 + number for number in range(2 * len(completed))] == [
            event.id for event in each.events
        ]

    slowdown = await measure(alice, lambda: listeners(users))
    gateway, notification = (1e6 * seconds / STREAMS for seconds in idle)
    print(
        f"\n{STREAMS} idle streams: {slowdown}; each takes {memory / STREAMS / 1024:.1f} KiB of the gateway,"
        f" {gateway:.0f} us of its CPU and {notification:.0f} us of the notification service's CPU per second"
    )

    if FULL:
        assert slowdown.factor < FACTOR_MAX
