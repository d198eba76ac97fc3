"""Guarantee 33b: the notification service: results that depend on rows found are acknowledged only when these are replicated."""

from __future__ import annotations

import pytest

from services.chassis.database import Pool
from services.contracts.identifiers import new_id
from services.notification import commands
from services.notification.commands import Recorded
from services.notification.store import NEWEST
from tests.harness.standby import Pair
from tests.unit.notification.events import completed


@pytest.fixture
def service() -> str:
    return "notification"


async def test_recorded_before(pair: Pair, pool: Pool) -> None:
    """An event in the inbox is acknowledged once it is replicated."""
    event = completed()

    async def record() -> Recorded:
        return await commands.record_events(pool, [event], with_deliveries=False)

    await pair.leave_unknown(record)
    assert 1 == (await pair.after_replication(record)).repeats_count


async def test_read_before(pair: Pair, pool: Pool) -> None:
    """Marking a notification as read again succeeds once the first time is replicated."""
    user_id = new_id()
    await commands.record_events(pool, [completed(sender_id=user_id)], with_deliveries=False)
    [notification] = await commands.list_notifications(pool, user_id, below=NEWEST, limit=2)
    await pair.leave_unknown(lambda: commands.mark_read(pool, notification.id, user_id))
    again = await pair.after_replication(lambda: commands.mark_read(pool, notification.id, user_id))
    assert again.read_at is not None
