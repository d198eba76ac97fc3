"""What a replay of a dead letter would do to its transfers."""

from __future__ import annotations

from services.chassis.database import Pool, Record
from services.chassis.dead_letter_desk import Effect, Foresee, Prospect
from services.contracts.messages import MalformedMessage, TransferCommand, decode_command, decode_envelope
from services.contracts.topology import TRANSFERS_REQUESTED
from services.transaction import commands
from services.transaction.store import Standing

UNREADABLE = "It cannot be read: its consumer would set it aside again. No transfer is touched."
READABLE = "It would be put into its queue once more, with a fresh count of attempts."
UNKNOWN = (
    "It asks for a transfer that nobody here has accepted: replayed, it could move money that no client asked for."
)


def foreseer(pool: Pool) -> Foresee:
    """Who tells what a replay would do, by what is on record now."""

    async def foresee(letter: Record) -> Prospect:
        standings = await commands.find_standings(pool, letter["transfer_ids"])
        readable = _read(bytes(letter["body"]))
        effects = [
            _effect(standings.get(transfer_id), transfer_id in readable, Effect(transfer_id, None, "", ""))
            for transfer_id in letter["transfer_ids"]
        ]
        unknown = readable.keys() - standings.keys()
        return Prospect(effects, READABLE if readable else UNREADABLE, UNKNOWN if unknown else None)

    return foresee


def _read(body: bytes) -> dict[object, TransferCommand]:
    """The commands in it that this code can read, by transfer."""
    try:
        items = decode_envelope(TRANSFERS_REQUESTED, body).items
    except MalformedMessage:
        return {}
    found: dict[object, TransferCommand] = {}
    for item in items:
        try:
            command = decode_command(item)
        except MalformedMessage:
            continue
        found[command.transfer_id] = command
    return found


def _effect(standing: Standing | None, is_readable: bool, about: Effect) -> Effect:
    known = about._replace(status=standing.status if standing else None)
    if standing is not None and standing.is_terminal:
        return known._replace(effect="nothing", detail="It has its outcome; the ledger would give the same one again.")
    if not is_readable:
        return known._replace(effect="dead_letter", detail="Its command cannot be read and would be set aside again.")
    if standing is None:
        return known._replace(effect="refused", detail="Nobody here has accepted it.")
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
