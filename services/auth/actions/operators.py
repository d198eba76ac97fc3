"""At least one operator can log in, whatever operators do to each other: checks in the caller's transaction."""

from __future__ import annotations

from services.auth import store
from services.chassis.database import Connection
from services.contracts.refusals.auth import LastOperator


async def lock(connection: Connection) -> None:
    """Serialize transactions that remove a role or disable a user. Take this lock before the lock of any user."""
    await store.users.lock_operators(connection)


async def require_one(connection: Connection) -> None:
    """Check after an operator was demoted or disabled, with the lock of `lock`.

    Raises:
        LastOperator: no enabled operator is left.
    """
    if not await store.users.is_any_operator_left(connection):
        raise LastOperator
