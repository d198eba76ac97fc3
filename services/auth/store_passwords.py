"""Statements of passwords."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.statements import Statements

statements = Statements(Path(__file__).parent / "sql" / "queries_passwords.sql")


async def update_password(connection: Connection, user_id: UUID, password_hash: str) -> None:
    """Give a user, who is locked, another password."""
    await connection.execute(statements.update_password, user_id, password_hash)
