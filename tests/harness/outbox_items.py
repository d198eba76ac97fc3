"""The items of the outbox, and items of finalized transfers, which the outbox no longer has after their publication."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import asyncpg

from services.chassis.database import Pool
from services.contracts.identifiers import new_id
from services.contracts.messages import TransferCommand, TransferEvent, encode_item
from services.contracts.topology import TRANSFERS_REQUESTED, Route

Row = asyncpg.Record | Mapping[str, Any]

_ITEMS = """
SELECT item::text FROM outbox, json_array_elements(('[' || body || ']')::json) WITH ORDINALITY AS items(item, number)
WHERE topic = $1 ORDER BY id, number
"""

SUBJECTS = """
SELECT unnest(coalesce(subject_ids, ARRAY[(nullif(body, '')::json ->> 'transfer_id')::uuid])) AS id FROM outbox WHERE topic = $1
"""
"""The transfers of the items that are, or were, in the outbox. Rows of earlier versions have one item, and no list."""


async def list_items(pool: Pool, route: Route) -> list[str]:
    """The unpublished items, in order, as JSON text."""
    return [row[0] for row in await pool.fetch(_ITEMS, route.type)]


async def list_subjects(pool: Pool, route: Route) -> list[UUID]:
    """The transfer of each item, published or not."""
    return [row["id"] for row in await pool.fetch(SUBJECTS, route.type)]


def make_item(route: Route, transfer: Row) -> str:
    """The command or event of a transfer again, from its row; an event gets another id."""
    return encode_item(_command(transfer) if route is TRANSFERS_REQUESTED else _event(transfer))


def _command(row: Row) -> TransferCommand:
    return TransferCommand(
        transfer_id=row["id"],
        source_id=row["from_wallet_id"],
        destination_id=row["to_wallet_id"],
        amount=row["amount"],
        currency=row["currency"],
        description=row["description"],
        request_hash=row["request_hash"].hex(),
        accepted_at=row["created_at"],
        expires_at=row["expires_at"],
        request_id=row["request_id"],
        traceparent=row["traceparent"],
    )


def _event(row: Row) -> TransferEvent:
    return TransferEvent(
        event_id=new_id(),
        type="transfer.completed" if row["status"] == "COMPLETED" else "transfer.failed",
        transfer_id=row["id"],
        kind=row["kind"],
        amount=row["amount"],
        currency=row["currency"],
        from_wallet_id=row["from_wallet_id"],
        to_wallet_id=row["to_wallet_id"],
        sender_id=row["user_id"],
        recipient_id=row["recipient_id"],
        description=row["description"],
        failure_code=row["failure_code"],
        occurred_at=row["completed_at"] or row["failed_at"],
        request_id=row["request_id"],
        traceparent=row["traceparent"],
    )
