"""What a replay of a dead letter would do: who would be told what they were not told before."""

from __future__ import annotations

from uuid import UUID

from services.chassis.database import Pool, Record
from services.chassis.dead_letter_api import Effect, Preview, ReplayPreview
from services.contracts.messages import MalformedMessage, decode_envelope, decode_event
from services.contracts.topology import TRANSFERS_FINALIZED
from services.notification import commands

UNREADABLE = "It cannot be read: its consumer would set it aside again. Nobody is told anything."
READABLE = "It would be put into its queue once more, with a fresh count of attempts."


def previewer(pool: Pool) -> Preview:
    """Who tells what a replay would do, by what was told until now."""

    async def preview(letter: Record) -> ReplayPreview:
        ids = letter["subject_ids"]
        untold = set(await commands.list_untold(pool, ids)) if ids else set()
        readable = _read(bytes(letter["body"]))
        effects = [_effect(transfer_id, transfer_id in untold, transfer_id in readable) for transfer_id in ids]
        return ReplayPreview(effects, READABLE if readable else UNREADABLE)

    return preview


def _read(body: bytes) -> set[UUID]:
    """The transfers of the events in it that this code can read."""
    try:
        items = decode_envelope(TRANSFERS_FINALIZED, body).items
    except MalformedMessage:
        return set()
    found = set()
    for item in items:
        try:
            found.add(decode_event(item).transfer_id)
        except MalformedMessage:
            continue
    return found


def _effect(transfer_id: UUID, is_untold: bool, is_readable: bool) -> Effect:
    if not is_untold:
        return Effect(transfer_id, "notified", "nothing", "All users concerned are notified; a copy is ignored.")
    if not is_readable:
        return Effect(
            transfer_id, "not_notified", "dead_letter", "Its event cannot be read and would be set aside again."
        )
    return Effect(transfer_id, "not_notified", "notify", "All users concerned would be notified now.")
