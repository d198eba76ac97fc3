"""Operators, inside somebody's transaction: whatever they do to one another, one who can log in is left."""

from __future__ import annotations

from services.auth import store
from services.auth.errors import LastOperator
from services.chassis.database import Connection


async def take_turn(connection: Connection) -> None:
    """Wait until nobody else takes a role or disables somebody. The first lock of a transaction, before any user's."""
    await store.users.lock_operators(connection)


async def keep_one(connection: Connection) -> None:
    """After an operator was demoted or disabled, in a transaction whose turn it is.

    Raises:
        LastOperator: none is left.
    """
    if not await store.users.is_any_operator_left(connection):
        raise LastOperator
