"""Preview of a replay: what it would do to the transfers of a dead letter."""

from __future__ import annotations

from uuid import UUID

from services.chassis.database import Pool, Record
from services.chassis.dead_letter_api import Effect, Preview, ReplayPreview
from services.contracts.messages import MalformedMessage, TransferCommand, decode_command, decode_envelope
from services.contracts.topology import TRANSFERS_REQUESTED
from services.transaction import commands
from services.transaction.store import TransferState

UNREADABLE = "The message cannot be decoded: it would become a dead letter again. No transfer changes."
READABLE = "The message would be published to its queue again, with its attempt count reset."
NOT_ACCEPTED = (
    "The message contains a command that does not match an accepted transfer: "
    "a replay could move money that no client requested."
)


def previewer(pool: Pool) -> Preview:
    """The preview of a replay, from what is recorded now."""

    async def preview(dead_letter: Record) -> ReplayPreview:
        states = await commands.find_transfer_states(pool, dead_letter["subject_ids"])
        readable = _read(bytes(dead_letter["body"]))
        effects = [
            _effect(states.get(transfer_id), readable.get(transfer_id), Effect(transfer_id, None, "", ""))
            for transfer_id in dead_letter["subject_ids"]
        ]
        mismatched = [
            command for command in readable.values() if not _is_accepted(states.get(command.transfer_id), command)
        ]
        return ReplayPreview(effects, READABLE if readable else UNREADABLE, NOT_ACCEPTED if mismatched else None)

    return preview


def _is_accepted(state: TransferState | None, command: TransferCommand) -> bool:
    """Whether the command is that of an accepted transfer. The ledger executes any command whose transfer it has not decided."""
    return state is not None and state.terms == (
        command.source_id,
        command.destination_id,
        command.amount,
        command.currency,
        command.request_hash,
        command.expires_at,
    )


def _read(body: bytes) -> dict[UUID, TransferCommand]:
    """The commands that this version can decode, by transfer."""
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


def _effect(state: TransferState | None, command: TransferCommand | None, about: Effect) -> Effect:
    known = about._replace(status=state.status if state else None)
    if state is not None and state.is_terminal:
        return known._replace(
            effect="nothing", detail="The transfer has its outcome; the ledger would return the same one."
        )
    if command is None:
        return known._replace(
            effect="dead_letter", detail="Its command cannot be decoded and would become a dead letter again."
        )
    if state is None or not _is_accepted(state, command):
        return known._replace(effect="refused", detail="No such command was accepted.")
    if state.is_conflicted:
        return known._replace(
            effect="dead_letter",
            detail="The ledger knows this id with another request and would return the same conflict.",
        )
    if state.is_expired:
        return known._replace(
            effect="void",
            detail="The transfer has expired: unless it was posted before, the ledger would record it as timed out.",
        )
    return known._replace(effect="post", detail="The ledger would post or reject the transfer.")
