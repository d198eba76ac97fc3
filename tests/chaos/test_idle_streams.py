"""Many streams of live events on which nothing happens: what they cost, whom they slow, and what comes when something does."""

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
from tests.harness.stack import Stack
from tests.harness.stretches import SLOWER_MAX, in_turns

STREAMS = bound(50, 500)
IDLE_SECONDS = bound(0.4, 20.0)
TRANSFERS = 100
ROLES = ("gateway", "notification")


@dataclass(slots=True)
class Listener:
    """One stream of somebody, and what came on it."""

    person: Person
    reader: Reader
    place: int
    events: list[Event] = field(default_factory=list)


@asynccontextmanager
async def listeners(people: list[Person]) -> AsyncIterator[list[Listener]]:
    """As many streams as each may have, all open, each read."""

    async def begin(person: Person) -> Listener:
        reader = await streams.enter_async_context(listening(person.session, person.base, person.token))
        return Listener(person, reader, await reader.begun())

    async with AsyncExitStack() as streams:
        begun = await asyncio.gather(*(begin(person) for person in people for _ in range(STREAMS_OF_USER_MAX)))
        following = [asyncio.create_task(each.reader.follow(each.events)) for each in begun]
        try:
            yield begun
            assert not any(task.done() for task in following), "a stream has ended"
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)


async def cpu_of_idling(stack: Stack) -> list[float]:
    """What each role that has to do with streams uses while nobody asks for anything: CPU seconds in a second."""
    before = [usage.of(stack["pids"][role]).cpu_seconds for role in ROLES]
    await asyncio.sleep(IDLE_SECONDS)
    after = [usage.of(stack["pids"][role]).cpu_seconds for role in ROLES]
    return [(last - first) / IDLE_SECONDS for first, last in zip(before, after, strict=True)]


async def pay_some(alice: Person, people: list[Person]) -> dict[str, set[str]]:
    """Transfers to every second one; by user, the ids of those that came in."""
    paid: dict[str, set[str]] = {person.user_id: set() for person in people}

    async def pay(person: Person) -> None:
        answer = await alice.send_money(person, 1, wait=30)
        assert "COMPLETED" == answer.body["status"], answer
        paid[person.user_id].add(answer.body["id"])

    lucky = people[::2]
    await asyncio.gather(*(pay(lucky[number % len(lucky)]) for number in range(TRANSFERS)))
    return paid


async def all_told(begun: list[Listener], paid: dict[str, set[str]]) -> None:
    """Wait until on each stream two events came of each transfer: its outcome and the notification."""
    async with asyncio.timeout(60):
        while any(len(each.events) < 2 * len(paid[each.person.user_id]) for each in begun):
            await asyncio.sleep(0.05)


@pytest.mark.timeout(400)
async def test_idle_streams(stack: Stack, api: ApiClient, alice: Person) -> None:
    """Guarantee 58: streams that idle slow nobody; when something happens each is told all of its own, once, and no other's."""
    people = [await api.register() for _ in range(STREAMS // STREAMS_OF_USER_MAX)]
    memory = usage.of(stack["pids"]["gateway"]).memory_bytes
    alone = await cpu_of_idling(stack)
    async with listeners(people) as begun:
        memory = usage.of(stack["pids"]["gateway"]).memory_bytes - memory
        idle = [more - less for more, less in zip(await cpu_of_idling(stack), alone, strict=True)]
        paid = await pay_some(alice, people)
        await all_told(begun, paid)
    for each in begun:
        completed = [event.data["id"] for event in each.events if event.type == "transfer.completed"]
        assert sorted(paid[each.person.user_id]) == sorted(completed)
        assert [each.place + 1 + number for number in range(2 * len(completed))] == [event.id for event in each.events]

    stretches = await in_turns(alice, lambda: listeners(people))
    gateway, notification = (1e6 * seconds / STREAMS for seconds in idle)
    print(
        f"\n{STREAMS} idle streams: {stretches}; each has {memory / STREAMS / 1024:.1f} KiB of the gateway,"
        f" {gateway:.0f} us of its CPU and {notification:.0f} us of the notification service's in a second"
    )

    if FULL:
        assert stretches.slower < SLOWER_MAX
