"""What a replay of a dead letter would do to its transfers."""

from __future__ import annotations

from uuid import UUID

from services.chassis.database import Pool, Record
from services.chassis.dead_letter_api import Effect, Preview, ReplayPreview
from services.contracts.messages import MalformedMessage, TransferCommand, decode_command, decode_envelope
from services.contracts.topology import TRANSFERS_REQUESTED
from services.transaction import commands
from services.transaction.store import Standing

UNREADABLE = "It cannot be read: its consumer would set it aside again. No transfer is touched."
READABLE = "It would be put into its queue once more, with a fresh count of attempts."
NOT_ASKED_FOR = (
    "It holds a command that is not the one of an accepted transfer: "
    "replayed, it could move money that no client asked for."
)


def previewer(pool: Pool) -> Preview:
    """Who tells what a replay would do, by what is on record now."""

    async def preview(letter: Record) -> ReplayPreview:
        standings = await commands.find_standings(pool, letter["subject_ids"])
        readable = _read(bytes(letter["body"]))
        effects = [
            _effect(standings.get(transfer_id), readable.get(transfer_id), Effect(transfer_id, None, "", ""))
            for transfer_id in letter["subject_ids"]
        ]
        odd = [
            command for command in readable.values() if not _is_asked_for(standings.get(command.transfer_id), command)
        ]
        return ReplayPreview(effects, READABLE if readable else UNREADABLE, NOT_ASKED_FOR if odd else None)

    return preview


def _is_asked_for(standing: Standing | None, command: TransferCommand) -> bool:
    """Whether a client has asked for just this. The ledger takes a command at its word where it has not decided yet."""
    return standing is not None and standing.terms == (
        command.source_id,
        command.destination_id,
        command.amount,
        command.currency,
        command.request_hash,
        command.expires_at,
    )


def _read(body: bytes) -> dict[UUID, TransferCommand]:
    """The commands in it that this code can read, by transfer."""
    try:
        items = decode_envelope(TRANSFERS_REQUESTED, body).items
    except MalformedMessage:
        return {}
    found: dict[UUID, TransferCommand] = {}
    for item in items:
        try:
            command = decode_command(item)
        except MalformedMessage:
            continue
        found[command.transfer_id] = command
    return found


def _effect(standing: Standing | None, command: TransferCommand | None, about: Effect) -> Effect:
    known = about._replace(status=standing.status if standing else None)
    if standing is not None and standing.is_terminal:
        return known._replace(effect="nothing", detail="It has its outcome; the ledger would give the same one again.")
    if command is None:
        return known._replace(effect="dead_letter", detail="Its command cannot be read and would be set aside again.")
    if standing is None or not _is_asked_for(standing, command):
        return known._replace(effect="refused", detail="Nobody here has accepted this command.")
    if standing.is_conflicted:
        return known._replace(
            effect="dead_letter", detail="The ledger knows its id with another request and would say so again."
        )
    if standing.is_expired:
        return known._replace(
            effect="void",
            detail="It is past its expiry: unless it was posted before, the ledger would end it as timed out.",
        )
    return known._replace(effect="post", detail="The ledger would decide it: posted, or rejected with a reason.")
