"""Live events through the whole stack: what a client that comes and goes is told, while things break."""

from __future__ import annotations

import asyncio
import os
import signal
from uuid import uuid4

import aiohttp

from tests.harness.api import Person
from tests.harness.drills import bound
from tests.harness.events import Event, listening
from tests.harness.stack import Stack

OFTEN = 10
UNAVAILABLE_SECONDS = bound(0.0, 30.0)


def statuses(events: list[Event]) -> dict[str, list[str]]:
    """By transfer, what was told of it, in order."""
    told: dict[str, list[str]] = {}
    for event in events:
        if event.type.startswith("transfer."):
            told.setdefault(event.data["id"], []).append(event.data["status"])
    return told


async def pay(alice: Person, bob: Person, count: int) -> list[str]:
    """So many transfers, each finalized; their ids."""
    sent = await asyncio.gather(*(alice.send_money(bob, 1, key=uuid4().hex) for _ in range(count)))
    ids = [response.body["id"] for response in sent]
    await asyncio.gather(*(alice.finalized(id_) for id_ in ids))
    return ids


async def gather(alice: Person, *, after: int | None, count: int, events: list[Event] | None = None) -> list[Event]:
    """So many events after a place, over as many connections as it takes."""
    events = [] if events is None else events
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while len(events) < count:
            try:
                async with listening(session, alice.base, alice.token, after=after) as reader:
                    while len(events) < count:
                        event = await reader.next()
                        if event.id is not None:
                            events.append(event)
                            after = event.id
            except (aiohttp.ClientError, EOFError, AssertionError, TimeoutError):
                await asyncio.sleep(0.1)
    return events


async def place_of(stack: Stack, person: Person) -> int:
    """How far the feed of somebody who was funded goes, once that was told: the transfer and the notification."""
    async with asyncio.timeout(20):
        while True:
            rows = await stack.query("notification", "SELECT count(*) FROM events WHERE user_id = $1", person.user_id)
            if rows[0]["count"] >= 2:
                return int(rows[0]["count"])
            await asyncio.sleep(0.05)


async def pay_while_away(alice: Person, bob: Person, count: int) -> list[str]:
    """So many transfers at least, and more until the client was away for long enough; their ids."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + UNAVAILABLE_SECONDS
    ids = await pay(alice, bob, count)
    while loop.time() < ends_at:
        ids += await pay(alice, bob, 1)
        await asyncio.sleep(0.2)
    return ids


async def test_a_client_away(stack: Stack, alice: Person, bob: Person) -> None:
    """Guarantee 58: who was away comes back with the last id: no event missing or doubled, also with Redis down."""
    place = await place_of(stack, alice)
    first = await pay(alice, bob, 2)
    # Three events of each transfer: it is PENDING, it is COMPLETED, the notification.
    before = await gather(alice, after=place, count=3 * len(first))
    away = await pay_while_away(alice, bob, 40)
    back = await gather(alice, after=before[-1].id, count=3 * len(away))
    await stack.take_down("redis")
    try:
        dark = await pay_while_away(alice, bob, OFTEN)
        back += await gather(alice, after=back[-1].id, count=3 * len(dark))
        following = asyncio.create_task(gather(alice, after=back[-1].id, count=3))
        last = await pay(alice, bob, 1)
        live = await following
    finally:
        stack.bring_up("redis")
    everything = before + back + live

    assert list(range(place + 1, place + 1 + len(everything))) == [event.id for event in everything]
    assert {id_: ["PENDING", "COMPLETED"] for id_ in first + away + dark + last} == statuses(everything)


async def test_gateway_and_notification_killed(stack: Stack, alice: Person, bob: Person) -> None:
    """Guarantee 58: gateway, notification and its worker are killed while a client follows: nothing missing or doubled."""
    place = await place_of(stack, alice)
    events: list[Event] = []
    following = asyncio.create_task(gather(alice, after=place, count=3 * 5 * OFTEN, events=events))
    ids = await pay(alice, bob, OFTEN)
    for name in ("notification", "gateway", "notification-worker"):
        os.kill(stack["pids"][name], signal.SIGKILL)
        await stack.ready(name)
        ids += await pay(alice, bob, OFTEN)
    ids += await pay(alice, bob, OFTEN)
    await following

    assert list(range(place + 1, place + 1 + len(events))) == [event.id for event in events]
    assert {id_: ["PENDING", "COMPLETED"] for id_ in ids} == statuses(events)


async def test_pending_is_told_while_it_is(stack: Stack, alice: Person, bob: Person) -> None:
    """With nobody to carry it out, the sender is told that the transfer is PENDING; the outcome comes when there is one."""
    place = await place_of(stack, alice)
    for name in ("transaction-worker-1", "transaction-worker-2"):
        await stack.take_down(name)
    try:
        sent = await alice.send_money(bob, 5)
        [pending] = await gather(alice, after=place, count=1)
    finally:
        for name in ("transaction-worker-1", "transaction-worker-2"):
            stack.bring_up(name)
    outcome, _ = await gather(alice, after=pending.id, count=2)

    assert ("transfer.pending", sent.body["id"], "PENDING") == (
        pending.type,
        pending.data["id"],
        pending.data["status"],
    )
    assert (sent.body["id"], True) == (outcome.data["id"], outcome.type in ("transfer.completed", "transfer.failed"))
