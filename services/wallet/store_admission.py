"""Statements about late outcomes that an operator admits; the caller's connection comes first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from services.chassis.database import Connection
from services.chassis.statements import Statements

statements = Statements(Path(__file__).parent / "sql" / "queries_admission.sql")


class Admission(NamedTuple):
    """An admitted outcome. `block` is the number of the block that seals it; None until it is sealed."""

    transfer_id: UUID
    reason: str
    operator_id: UUID
    at: datetime
    block: int | None


async def find_lateness(connection: Connection, transfer_id: UUID) -> bool | None:
    """Whether the outcome is unsealed and too old to be sealed; None if there is no outcome."""
    row = await connection.fetchrow(statements.find_lateness, transfer_id)
    return None if row is None else bool(row["late"])


async def find_admission(connection: Connection, transfer_id: UUID) -> Admission | None:
    """The admission of this outcome."""
    row = await connection.fetchrow(statements.find_admission, transfer_id)
    return None if row is None else Admission(*row)


async def insert_admission(
    connection: Connection, transfer_id: UUID, *, reason: str, operator_id: UUID, request_id: str
) -> bool:
    """Admit an outcome and record it in the audit log; False if it is admitted already."""
    new = await connection.fetchval(statements.insert_admission, transfer_id, reason, operator_id, request_id)
    if new is not None:
        await connection.execute(statements.insert_admission_audit, operator_id, transfer_id, reason, request_id)
    return new is not None


async def list_unsealed_admissions(connection: Connection, limit: int) -> tuple[list[UUID], datetime | None]:
    """Admitted outcomes that no block seals yet, and the time of the latest of them."""
    row = await connection.fetchrow(statements.list_unsealed_admissions, limit)
    assert row is not None, "an aggregate always has a row"
    return row[0] or [], row[1]


async def set_admission_block(connection: Connection, transfer_ids: Sequence[UUID], block: int) -> None:
    """Record which block seals these outcomes; those that were not admitted are ignored."""
    await connection.execute(statements.set_admission_block, transfer_ids, block)
