"""Queue an e-mail in the commit of the action that causes it."""

from __future__ import annotations

from uuid import UUID

from services.auth import rules, store
from services.auth.keyring import Keyring
from services.auth.rules.emails import Kind
from services.auth.rules.user import User
from services.chassis.database import Connection
from services.contracts.identifiers import new_id


async def queue_email(connection: Connection, keyring: Keyring, user: User, *, kind: Kind) -> None:
    """Queue an e-mail with a token; it supersedes earlier tokens of the same kind. The row of the user must be new or locked.

    Nothing is queued for an address that no e-mail can reach.
    """
    if not rules.emails.is_reachable(user.email):
        return
    email_id, token = new_id(), rules.emails.new_token()
    await store.emails.insert_email(
        connection,
        email_id,
        user.id,
        kind=kind,
        token_hash=rules.emails.hash_token(token),
        token_sealed=keyring.seal_token(token, email_id=email_id),
    )


async def queue_email_if_due(connection: Connection, keyring: Keyring, user: User, *, kind: Kind) -> bool:
    """Queue an e-mail unless the last one is valid and too recent; return whether it was queued. The user must be locked."""
    history = await store.emails.read_history(connection, user.id, kind)
    if not rules.emails.is_due(**history._asdict()):
        return False
    await queue_email(connection, keyring, user, kind=kind)
    return True


async def queue_security_email(
    connection: Connection, keyring: Keyring, user_id: UUID, *, kind: Kind, detail: str = ""
) -> None:
    """Notify a user, who must be locked, of a change to their account, up to a daily limit for each kind."""
    history = await store.emails.read_history(connection, user_id, kind)
    if history.day_count < rules.emails.SECURITY_EMAILS_PER_DAY_MAX:
        email_id = new_id()
        sealed = keyring.seal_token(detail, email_id=email_id)
        await store.emails.insert_email(connection, email_id, user_id, kind=kind, token_hash=None, token_sealed=sealed)
