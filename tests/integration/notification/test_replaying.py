"""The preview of a replay of a dead letter."""

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


async def test_dry_run_shows_each_effect(pool: Pool) -> None:
    """A recorded outcome is recognized, another would be recorded, an unreadable event would become a dead letter again."""
    recorded, missing, unreadable = completed(), failed(), completed()
    await commands.record_events(pool, [recorded], with_deliveries=False)
    broken = json.dumps(json.loads(encode_item(unreadable)) | {"amount": "10.50"})
    body = encode_envelope(
        TRANSFERS_FINALIZED, [encode_item(recorded), encode_item(missing), broken], sent_at=datetime.now(UTC)
    )
    await dead_letters.archive(pool, [dead_letters.read(FINALIZED_QUEUE, body, {}, None)])
    [row] = await archived(pool)

    preview = await replay.previewer(pool)(row)

    assert {
        recorded.transfer_id: ("notified", "nothing"),
        missing.transfer_id: ("not_notified", "notify"),
        unreadable.transfer_id: ("not_notified", "dead_letter"),
    } == {effect.subject_id: (effect.status, effect.effect) for effect in preview.effects}
    assert (replay.READABLE, None) == (preview.detail, preview.refusal)


async def test_dry_run_of_a_malformed_message(pool: Pool) -> None:
    """A message that cannot be decoded would record nothing."""
    await dead_letters.archive(pool, [dead_letters.read(FINALIZED_QUEUE, b"no json", {}, None)])
    [row] = await archived(pool)

    assert ([], replay.UNREADABLE) == tuple(await replay.previewer(pool)(row))[:2]
