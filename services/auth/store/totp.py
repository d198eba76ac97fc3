"""The second factor. The caller must have locked the user."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.statements import Statements

statements = Statements(Path(__file__).parents[1] / "sql" / "queries" / "totp.sql")


async def propose_totp(connection: Connection, user_id: UUID, secret_sealed: bytes) -> None:
    """Store a secret that is not confirmed yet; it replaces an earlier unconfirmed one."""
    await connection.execute(statements.propose_totp, user_id, secret_sealed)


async def confirm_totp(connection: Connection, user_id: UUID, step: int) -> None:
    """Enable the second factor; the code of this time step is spent."""
    await connection.execute(statements.confirm_totp, user_id, step)


async def remove_totp(connection: Connection, user_id: UUID) -> None:
    """Disable the second factor and delete its secret."""
    await connection.execute(statements.remove_totp, user_id)


async def spend_totp_step(connection: Connection, user_id: UUID, step: int) -> bool:
    """Spend the code of this time step; False if it, or a later one, was spent before."""
    return await connection.fetchval(statements.spend_totp_step, user_id, step) is not None


async def spend_recovery_code(connection: Connection, user_id: UUID, code_hash: bytes) -> bool:
    """Spend a recovery code; False if it is unknown or was spent before."""
    return await connection.fetchval(statements.spend_recovery_code, user_id, code_hash) is not None


async def count_recovery_codes(connection: Connection, user_id: UUID) -> int:
    """Count the unused recovery codes of a user."""
    return int(await connection.fetchval(statements.count_recovery_codes, user_id))


async def replace_recovery_codes(connection: Connection, user_id: UUID, hashes: Iterable[bytes]) -> None:
    """Replace all recovery codes of a user."""
    await connection.execute(statements.delete_recovery_codes, user_id)
    await connection.execute(statements.insert_recovery_codes, user_id, sorted(hashes))
