"""Live events through the whole stack: what a reconnecting client receives during faults."""

from __future__ import annotations

import asyncio
import os
import signal
from uuid import uuid4

import aiohttp

from tests.harness import feeds
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


def check_statuses(ids: list[str], events: list[Event]) -> None:
    """Every transfer is COMPLETED once; those that were not final soon were PENDING once, before that."""
    received = statuses(events)
    assert set(ids) == set(received)
    assert all(found in (["COMPLETED"], ["PENDING", "COMPLETED"]) for found in received.values()), received


async def pay(alice: Person, bob: Person, count: int) -> list[str]:
    """Send transfers and wait until they are terminal; return their ids."""
    sent = await asyncio.gather(*(alice.send_money(bob, 1, key=uuid4().hex) for _ in range(count)))
    ids = [response.body["id"] for response in sent]
    await asyncio.gather(*(alice.finalized(id_) for id_ in ids))
    return ids


async def gather(
    alice: Person, *, after: int | None, notifications: int = 0, count: int = 0, events: list[Event] | None = None
) -> list[Event]:
    """Read so many events after a position, or to so many notifications, reconnecting as often as needed.

    A transfer has two events, COMPLETED and the notification, and PENDING before them if it was not final soon.
    """
    events = [] if events is None else events

    def is_complete() -> bool:
        return len(events) >= count and sum(event.type == "notification" for event in events) >= notifications

    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while not is_complete():
            try:
                async with listening(session, alice.base, alice.token, after=after) as reader:
                    while not is_complete():
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
            rows = await stack.query(
                "notification", f"SELECT count(*) FROM {feeds.LINES} WHERE user_id = $1", person.user_id
            )
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
    before = await gather(alice, after=position, notifications=len(first))
    missed = await pay_while_disconnected(alice, bob, 40)
    back = await gather(alice, after=before[-1].id, notifications=len(missed))
    await stack.take_down("redis")
    try:
        dark = await pay_while_disconnected(alice, bob, OFTEN)
        back += await gather(alice, after=back[-1].id, notifications=len(dark))
        following = asyncio.create_task(gather(alice, after=back[-1].id, notifications=1))
        last = await pay(alice, bob, 1)
        live = await following
    finally:
        stack.bring_up("redis")
    everything = before + back + live

    assert list(range(position + 1, position + 1 + len(everything))) == [event.id for event in everything]
    check_statuses(first + missed + dark + last, everything)


async def test_gateway_and_notification_killed(stack: Stack, alice: Person, bob: Person) -> None:
    """Guarantee 58: gateway, notification and its worker are killed while a client follows: each event arrives once."""
    position = await position_of(stack, alice)
    events: list[Event] = []
    following = asyncio.create_task(gather(alice, after=position, notifications=5 * OFTEN, events=events))
    ids = await pay(alice, bob, OFTEN)
    for name in ("notification", "gateway", "notification-worker"):
        os.kill(stack["pids"][name], signal.SIGKILL)
        await stack.ready(name)
        ids += await pay(alice, bob, OFTEN)
    ids += await pay(alice, bob, OFTEN)
    await following

    assert list(range(position + 1, position + 1 + len(events))) == [event.id for event in events]
    check_statuses(ids, events)


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
