"""Preview of a replay: which outcomes of a dead letter are not recorded yet."""

from __future__ import annotations

from datetime import datetime
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
        expired_until = await commands.find_expired_until(pool)
        readable = _read(bytes(dead_letter["body"]))
        effects = [
            _expired(transfer_id)
            if readable.get(transfer_id, expired_until) < expired_until
            else _effect(transfer_id, transfer_id not in unrecorded, transfer_id in readable)
            for transfer_id in ids
        ]
        return ReplayPreview(effects, READABLE if readable else UNREADABLE)

    return preview


def _read(body: bytes) -> dict[UUID, datetime]:
    """The transfers of the events that this version can decode, and when they got their outcomes."""
    try:
        items = decode_envelope(TRANSFERS_FINALIZED, body).items
    except MalformedMessage:
        return {}
    found = {}
    for item in items:
        try:
            event = decode_event(item)
        except MalformedMessage:
            continue
        found[event.transfer_id] = event.occurred_at
    return found


def _expired(transfer_id: UUID) -> Effect:
    detail = "Its notifications have expired; the event is ignored."
    return Effect(transfer_id, "notified", "nothing", detail)


def _effect(transfer_id: UUID, is_recorded: bool, is_readable: bool) -> Effect:
    if is_recorded:
        return Effect(transfer_id, "notified", "nothing", "The users are notified; a copy is ignored.")
    if not is_readable:
        detail = "Its event cannot be decoded and would become a dead letter again."
        return Effect(transfer_id, "not_notified", "dead_letter", detail)
    return Effect(transfer_id, "not_notified", "notify", "The users would be notified.")
