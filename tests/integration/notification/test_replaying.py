"""What a replay of a dead letter would do, by what was told until now."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from services.chassis import dead_letters
from services.chassis.database import Pool
from services.contracts.messages import encode_envelope, encode_item
from services.contracts.topology import FINALIZED_QUEUE, TRANSFERS_FINALIZED
from services.notification import commands, replay
from tests.harness.dead_letters import archived
from tests.unit.notification.events import completed, failed


async def test_a_dry_run_says_who_would_be_told(pool: Pool) -> None:
    """What was told is recognised, what was not would be told, and what cannot be read would be set aside again."""
    told, untold, odd = completed(), failed(), completed()
    await commands.record_events(pool, [told], with_deliveries=False)
    broken = json.dumps(json.loads(encode_item(odd)) | {"amount": "10.50"})
    body = encode_envelope(
        TRANSFERS_FINALIZED, [encode_item(told), encode_item(untold), broken], sent_at=datetime.now(UTC)
    )
    await dead_letters.archive(pool, [dead_letters.read(FINALIZED_QUEUE, body, {}, None)])
    [row] = await archived(pool)

    prospect = await replay.previewer(pool)(row)

    assert {
        told.transfer_id: ("notified", "nothing"),
        untold.transfer_id: ("not_notified", "notify"),
        odd.transfer_id: ("not_notified", "dead_letter"),
    } == {effect.subject_id: (effect.status, effect.effect) for effect in prospect.effects}
    assert (replay.READABLE, None) == (prospect.detail, prospect.refusal)


async def test_a_dry_run_of_what_is_no_message(pool: Pool) -> None:
    """Nothing in it can be read: nobody would be told anything."""
    await dead_letters.archive(pool, [dead_letters.read(FINALIZED_QUEUE, b"no json", {}, None)])
    [row] = await archived(pool)

    assert ([], replay.UNREADABLE) == tuple(await replay.previewer(pool)(row))[:2]
