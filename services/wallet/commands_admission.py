"""Admit a late outcome: one database transaction."""

from __future__ import annotations

from uuid import UUID

from services.chassis import database, replication
from services.chassis.database import Pool
from services.contracts.refusals.wallet import OutcomeNotFound, OutcomeNotLate
from services.wallet import store_admission
from services.wallet.store_admission import Admission


async def admit_outcome(pool: Pool, transfer_id: UUID, *, reason: str, operator_id: UUID, request_id: str) -> Admission:
    """Let the sealer seal a late outcome that a person found to be genuine; repeated, it returns the first admission.

    Raises:
        OutcomeNotFound
        OutcomeNotLate: the outcome is sealed, or the sealer will seal it.
    """
    async with database.transaction(pool) as connection:
        is_new = await store_admission.find_admission(connection, transfer_id) is None
        if is_new:
            late = await store_admission.find_lateness(connection, transfer_id)
            if late is None:
                raise OutcomeNotFound
            if not late:
                raise replication.OnceReplicated(OutcomeNotLate())
            is_new = await store_admission.insert_admission(
                connection, transfer_id, reason=reason, operator_id=operator_id, request_id=request_id
            )
        if not is_new:
            await replication.await_replication(connection)
        admission = await store_admission.find_admission(connection, transfer_id)
    assert admission is not None, "admissions are never removed"
    return admission
