"""Statements of the second factor. The user is locked by whoever calls."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.statements import Statements

statements = Statements(Path(__file__).parents[1] / "sql" / "queries" / "totp.sql")


async def propose_totp(connection: Connection, user_id: UUID, secret_sealed: bytes) -> None:
    """Keep a secret that was not confirmed yet, instead of an earlier one of that kind."""
    await connection.execute(statements.propose_totp, user_id, secret_sealed)


async def confirm_totp(connection: Connection, user_id: UUID, step: int) -> None:
    """Turn the second factor on; the code of this step is spent."""
    await connection.execute(statements.confirm_totp, user_id, step)


async def remove_totp(connection: Connection, user_id: UUID) -> None:
    """Turn the second factor off and forget its secret."""
    await connection.execute(statements.remove_totp, user_id)


async def spend_totp_step(connection: Connection, user_id: UUID, step: int) -> bool:
    """Use up the code of this step; False when it, or a later one, was used before."""
    return await connection.fetchval(statements.spend_totp_step, user_id, step) is not None


async def spend_recovery_code(connection: Connection, user_id: UUID, code_hash: bytes) -> bool:
    """Use up a recovery code; False when there is none like that, or it was used before."""
    return await connection.fetchval(statements.spend_recovery_code, user_id, code_hash) is not None


async def count_recovery_codes(connection: Connection, user_id: UUID) -> int:
    """How many of a user's recovery codes are left."""
    return int(await connection.fetchval(statements.count_recovery_codes, user_id))


async def replace_recovery_codes(connection: Connection, user_id: UUID, hashes: Iterable[bytes]) -> None:
    """Forget all recovery codes of a user and keep these."""
    await connection.execute(statements.delete_recovery_codes, user_id)
    await connection.execute(statements.insert_recovery_codes, user_id, sorted(hashes))
