"""Preview of a replay: which outcomes of a dead letter are not recorded yet."""

from __future__ import annotations

from uuid import UUID

from services.chassis.database import Pool, Record
from services.chassis.dead_letter_api import Effect, Preview, ReplayPreview
from services.contracts.messages import MalformedMessage, decode_envelope, decode_event
from services.contracts.topology import TRANSFERS_FINALIZED
from services.notification import commands

UNREADABLE = "The message cannot be decoded: it would become a dead letter again. Nothing would be recorded."
READABLE = "The message would be published to its queue again, with its attempt count reset."


def previewer(pool: Pool) -> Preview:
    """The preview of a replay, from what is recorded now."""

    async def preview(dead_letter: Record) -> ReplayPreview:
        ids = dead_letter["subject_ids"]
        unrecorded = set(await commands.list_unrecorded(pool, ids)) if ids else set()
        readable = _read(bytes(dead_letter["body"]))
        effects = [_effect(transfer_id, transfer_id not in unrecorded, transfer_id in readable) for transfer_id in ids]
        return ReplayPreview(effects, READABLE if readable else UNREADABLE)

    return preview


def _read(body: bytes) -> set[UUID]:
    """The transfers of the events that this version can decode."""
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


def _effect(transfer_id: UUID, is_recorded: bool, is_readable: bool) -> Effect:
    if is_recorded:
        return Effect(transfer_id, "notified", "nothing", "The users are notified; a copy is ignored.")
    if not is_readable:
        detail = "Its event cannot be decoded and would become a dead letter again."
        return Effect(transfer_id, "not_notified", "dead_letter", detail)
    return Effect(transfer_id, "not_notified", "notify", "The users would be notified.")
