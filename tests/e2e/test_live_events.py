"""Live events through the whole stack: what a reconnecting client receives during faults."""

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
    """The statuses received for each transfer, in order."""
    received: dict[str, list[str]] = {}
    for event in events:
        if event.type.startswith("transfer."):
            received.setdefault(event.data["id"], []).append(event.data["status"])
    return received


async def pay(alice: Person, bob: Person, count: int) -> list[str]:
    """Send transfers and wait until they are terminal; return their ids."""
    sent = await asyncio.gather(*(alice.send_money(bob, 1, key=uuid4().hex) for _ in range(count)))
    ids = [response.body["id"] for response in sent]
    await asyncio.gather(*(alice.finalized(id_) for id_ in ids))
    return ids


async def gather(alice: Person, *, after: int | None, count: int, events: list[Event] | None = None) -> list[Event]:
    """Read this many events after a position, reconnecting as often as needed."""
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


async def position_of(stack: Stack, person: Person) -> int:
    """The last position of a funded user's feed, once the deposit's event and notification are in it."""
    async with asyncio.timeout(20):
        while True:
            rows = await stack.query("notification", "SELECT count(*) FROM events WHERE user_id = $1", person.user_id)
            if rows[0]["count"] >= 2:
                return int(rows[0]["count"])
            await asyncio.sleep(0.05)


async def pay_while_disconnected(alice: Person, bob: Person, count: int) -> list[str]:
    """Send at least this many transfers, and more until the client has been away long enough; return their ids."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + UNAVAILABLE_SECONDS
    ids = await pay(alice, bob, count)
    while loop.time() < ends_at:
        ids += await pay(alice, bob, 1)
        await asyncio.sleep(0.2)
    return ids


async def test_a_client_that_reconnects(stack: Stack, alice: Person, bob: Person) -> None:
    """Guarantee 58: a client that reconnects with its last id gets each event once, also with Redis down."""
    position = await position_of(stack, alice)
    first = await pay(alice, bob, 2)
    # Three events of each transfer: PENDING, COMPLETED, the notification.
    before = await gather(alice, after=position, count=3 * len(first))
    missed = await pay_while_disconnected(alice, bob, 40)
    back = await gather(alice, after=before[-1].id, count=3 * len(missed))
    await stack.take_down("redis")
    try:
        dark = await pay_while_disconnected(alice, bob, OFTEN)
        back += await gather(alice, after=back[-1].id, count=3 * len(dark))
        following = asyncio.create_task(gather(alice, after=back[-1].id, count=3))
        last = await pay(alice, bob, 1)
        live = await following
    finally:
        stack.bring_up("redis")
    everything = before + back + live

    assert list(range(position + 1, position + 1 + len(everything))) == [event.id for event in everything]
    assert {id_: ["PENDING", "COMPLETED"] for id_ in first + missed + dark + last} == statuses(everything)


async def test_gateway_and_notification_killed(stack: Stack, alice: Person, bob: Person) -> None:
    """Guarantee 58: gateway, notification and its worker are killed while a client follows: each event arrives once."""
    position = await position_of(stack, alice)
    events: list[Event] = []
    following = asyncio.create_task(gather(alice, after=position, count=3 * 5 * OFTEN, events=events))
    ids = await pay(alice, bob, OFTEN)
    for name in ("notification", "gateway", "notification-worker"):
        os.kill(stack["pids"][name], signal.SIGKILL)
        await stack.ready(name)
        ids += await pay(alice, bob, OFTEN)
    ids += await pay(alice, bob, OFTEN)
    await following

    assert list(range(position + 1, position + 1 + len(events))) == [event.id for event in events]
    assert {id_: ["PENDING", "COMPLETED"] for id_ in ids} == statuses(events)


async def test_a_pending_event_is_sent(stack: Stack, alice: Person, bob: Person) -> None:
    """Without a worker the sender receives the event PENDING; the outcome follows once there is one."""
    position = await position_of(stack, alice)
    for name in ("transaction-worker-1", "transaction-worker-2"):
        await stack.take_down(name)
    try:
        sent = await alice.send_money(bob, 5)
        [pending] = await gather(alice, after=position, count=1)
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
