"""Writing a letter: inside the commit of the act that it belongs to."""

from __future__ import annotations

from uuid import UUID

from services.auth import letters, store_letters
from services.auth.keys import Vault
from services.auth.letters import Kind
from services.auth.user import User
from services.chassis.database import Connection
from services.contracts.identifiers import new_id


async def write_letter(connection: Connection, vault: Vault, user: User, kind: Kind) -> None:
    """Write to a user who is new or locked. Tokens of the same kind that were written before hold no more."""
    letter_id, token = new_id(), letters.new_token()
    await store_letters.insert_letter(
        connection,
        letter_id,
        user.id,
        kind,
        token_hash=letters.hash_token(token),
        token_sealed=vault.seal_token(token, letter_id=letter_id),
    )


async def write_letter_if_due(connection: Connection, vault: Vault, user: User, kind: Kind) -> bool:
    """As `write_letter`, unless the one before is too young and holds; whether one was written. The user must be locked."""
    history = await store_letters.read_history(connection, user.id, kind)
    if not letters.is_due(**history._asdict()):
        return False
    await write_letter(connection, vault, user, kind)
    return True


async def tell(connection: Connection, vault: Vault, user_id: UUID, kind: Kind, *, detail: str = "") -> None:
    """Write to a user who is locked what was done to their account, unless they were told very often today."""
    history = await store_letters.read_history(connection, user_id, kind)
    if history.day_count < letters.TOLD_PER_DAY_MAX:
        letter_id = new_id()
        sealed = vault.seal_token(detail, letter_id=letter_id)
        await store_letters.insert_letter(connection, letter_id, user_id, kind, token_hash=None, token_sealed=sealed)
