"""Writing a letter: inside the commit of the action that it belongs to."""

from __future__ import annotations

from uuid import UUID

from services.auth import rules, store
from services.auth.keyring import Vault
from services.auth.rules.emails import Kind
from services.auth.rules.user import User
from services.chassis.database import Connection
from services.contracts.identifiers import new_id


async def write_letter(connection: Connection, vault: Vault, user: User, kind: Kind) -> None:
    """Write to a user who is new or locked. Tokens of the same kind that were written before hold no more."""
    letter_id, token = new_id(), rules.emails.new_token()
    await store.emails.insert_letter(
        connection,
        letter_id,
        user.id,
        kind,
        token_hash=rules.emails.hash_token(token),
        token_sealed=vault.seal_token(token, letter_id=letter_id),
    )


async def write_letter_if_due(connection: Connection, vault: Vault, user: User, kind: Kind) -> bool:
    """As `write_letter`, unless the one before is too young and holds; whether one was written. The user must be locked."""
    history = await store.emails.read_history(connection, user.id, kind)
    if not rules.emails.is_due(**history._asdict()):
        return False
    await write_letter(connection, vault, user, kind)
    return True


async def tell(connection: Connection, vault: Vault, user_id: UUID, kind: Kind, *, detail: str = "") -> None:
    """Write to a user who is locked what was done to their account, unless they were told very often today."""
    history = await store.emails.read_history(connection, user_id, kind)
    if history.day_count < rules.emails.TOLD_PER_DAY_MAX:
        letter_id = new_id()
        sealed = vault.seal_token(detail, letter_id=letter_id)
        await store.emails.insert_letter(connection, letter_id, user_id, kind, token_hash=None, token_sealed=sealed)
