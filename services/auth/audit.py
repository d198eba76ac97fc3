"""The audit log: who did what to whom, and in which request, in the commit of the act."""

from __future__ import annotations

from services.auth import store
from services.auth.store import Audit
from services.chassis import tracing
from services.chassis.database import Connection
from services.contracts.identifiers import new_id


async def record(connection: Connection, audit: Audit) -> None:
    """Write one act down; it stands if and only if the transaction commits."""
    await store.insert_audit(connection, new_id(), audit, tracing.request_id())
