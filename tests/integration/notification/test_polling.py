"""The pollers of pending and of late transfers: each transfer is recorded once, whatever fails or starts again."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from aiohttp import web

from services.chassis import server
from services.chassis.client import Upstream
from services.chassis.database import Pool
from services.chassis.service_tokens import Identity
from services.contracts.identifiers import new_id
from services.notification import commands, late, pending, poller
from services.notification.catch_up import CatchUp
from services.notification.poller import Poller
from services.notification.wakeup import FeedWakeup
from services.transaction import commands as transaction
from tests.integration.notification.transfers import RecordingWakeup, Transfers

LONG_AGO = timedelta(minutes=1)
MILLISECOND = timedelta(milliseconds=1)


async def test_slow_transfer_gets_a_pending_event(
    transfers: Transfers, upstream: Upstream, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pending transfer is shown to its sender once; its outcome, of which no message arrives, is recorded as well."""
    monkeypatch.setattr(transaction, "PENDING_AGE_SECONDS", 0.0)
    monkeypatch.setattr(poller, "PAGE_MAX", 3)
    watch = Poller(pending.SOURCE, pool, upstream, wakeup=FeedWakeup(None))
    alice = new_id()
    outcomes = await transfers.accept(8, user_id=alice)
    await watch.poll()
    await watch.poll()
    outcomes += await transfers.accept(1, user_id=alice)
    await watch.poll()

    lines = await pool.fetch("SELECT payload->>'id' AS id, type FROM events WHERE user_id = $1 ORDER BY seq", alice)
    assert Counter({(str(one.transfer_id), "transfer.pending"): 1 for one in outcomes}) == Counter(map(tuple, lines))
    await transaction.finalize_transfers(transfers.pool, outcomes)
    assert 9 == await CatchUp(pool, upstream, FeedWakeup(None), with_deliveries=False).catch_up()
    await watch.poll()
    assert 9 == await pool.fetchval("SELECT count(*) FROM events")


async def test_late_pending_event_wakes_the_sender(
    transfers: Transfers, upstream: Upstream, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transfer that becomes visible after one that expires later is recorded once; its sender is woken up."""
    monkeypatch.setattr(transaction, "PENDING_AGE_SECONDS", 0.0)
    wakeup = RecordingWakeup()
    watch = Poller(pending.SOURCE, pool, upstream, wakeup=wakeup)
    expires_at = datetime.now(UTC) + timedelta(minutes=10)
    alice, bob = new_id(), new_id()

    await transfers.accept(1, user_id=alice, expires_at=expires_at)
    await watch.poll()
    await transfers.accept(1, user_id=bob, expires_at=expires_at - timedelta(seconds=1.5))
    for _ in range(2):
        await watch.poll()

    lines = await pool.fetch("SELECT user_id, type FROM events ORDER BY user_id")
    assert sorted([(alice, "transfer.pending"), (bob, "transfer.pending")]) == [tuple(row) for row in lines]
    assert [{alice}, {bob}] == wakeup.rung


async def accept_late(transfers: Transfers, count: int, alice: UUID) -> list[UUID]:
    """PENDING transfers of Alice that were expected to be final a minute ago; their ids."""
    expected_by = datetime.now(UTC) - LONG_AGO
    accepted = [
        await transfers.accept(1, user_id=alice, expected_by=expected_by + number * MILLISECOND)
        for number in range(count)
    ]
    return [each.transfer_id for [each] in accepted]


async def late_notifications(pool: Pool) -> Counter[UUID]:
    """How many notifications that it is late each transfer has in its sender's feed."""
    rows = await pool.fetch("SELECT payload->>'transfer_id' AS id FROM events WHERE payload->>'kind' = 'transfer_late'")
    return Counter(UUID(row["id"]) for row in rows)


async def test_two_processes_and_a_restart_notify_once(
    transfers: Transfers, upstream: Upstream, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes poll at once, page by page, and one that starts again knows nothing: one notification each."""
    monkeypatch.setattr(poller, "PAGE_MAX", 3)
    alice = new_id()
    expected = Counter(await accept_late(transfers, 4, alice))
    pollers = [Poller(late.SOURCE, pool, upstream, wakeup=FeedWakeup(None)) for _ in range(2)]
    expected += Counter(await accept_late(transfers, 4, alice))

    for _ in range(2):
        await asyncio.gather(*(each.poll() for each in pollers))
    await Poller(late.SOURCE, pool, upstream, wakeup=FeedWakeup(None)).poll()

    assert expected == await late_notifications(pool)


async def test_outcome_between_the_list_and_the_record(transfers: Transfers, upstream: Upstream, pool: Pool) -> None:
    """A transfer becomes final after it was listed as late: its sender gets the outcome and nothing after it."""
    outcomes = await transfers.accept(1, user_id=new_id(), expected_by=datetime.now(UTC) - LONG_AGO)
    watch = Poller(late.SOURCE, pool, upstream, wakeup=FeedWakeup(None))
    page = await watch._list(datetime.now(UTC) - 2 * LONG_AGO)
    await transaction.finalize_transfers(transfers.pool, outcomes)
    events = await transfers.events([outcomes[0].transfer_id])
    await commands.record_events(pool, events, with_deliveries=False)

    assert [outcomes[0].transfer_id] == [each.id for each in page]
    await watch._record([each.found for each in page if each.found is not None])
    assert Counter() == await late_notifications(pool)


async def test_deposits_are_not_notified(transfers: Transfers, upstream: Upstream, pool: Pool) -> None:
    """A transfer whose sender gets no notifications has none that it is late."""
    await transfers.accept(1, user_id=new_id(), kind="deposit", expected_by=datetime.now(UTC) - LONG_AGO)
    await Poller(late.SOURCE, pool, upstream, wakeup=FeedWakeup(None)).poll()
    assert Counter() == await late_notifications(pool)


class Lines:
    """The log: its events, and the exceptions of those that have a traceback."""

    def __init__(self) -> None:
        self.logged: list[tuple[str, object]] = []

    def info(self, event: str, **fields: object) -> None:
        self.logged.append((event, fields.get("exc_info")))

    error = info


async def test_service_without_the_route_is_logged_once(
    seeds: dict[str, str],
    public_keys: dict[str, str],
    upstream: Upstream,
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beside a transaction service of an earlier release there is one line without a traceback, and one when that ends."""
    runner = web.AppRunner(server.application("transaction"), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    earlier = Upstream(
        "notification",
        "transaction",
        f"http://127.0.0.1:{runner.addresses[0][1]}",
        Identity.from_base64(seeds["notification-worker"], public_keys),
    )
    watch = Poller(late.SOURCE, pool, earlier, wakeup=FeedWakeup(None))

    lines = Lines()
    monkeypatch.setattr(poller, "log", lines)
    for _ in range(3):
        await watch.try_to_poll()
    watch._transaction = upstream
    for _ in range(2):
        await watch.try_to_poll()
    await earlier.close()
    await runner.cleanup()

    assert [("poll_failed", None), ("poll_resumed", None)] == lines.logged
