"""Finalized transfers for tests of the notification service."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from services.contracts.identifiers import new_id
from services.contracts.messages import TransferEvent

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def completed(**fields: Any) -> TransferEvent:
    """10.50 USD from one user to another, unless `fields` differ."""
    return _event("transfer.completed", None, fields)


def failed(code: str = "insufficient_funds", **fields: Any) -> TransferEvent:
    """The same transfer, failed."""
    return _event("transfer.failed", code, fields)


def deposit(operator_id: UUID, recipient_id: UUID, **fields: Any) -> TransferEvent:
    """A deposit of an operator to a user's wallet."""
    return completed(kind="deposit", sender_id=operator_id, recipient_id=recipient_id, **fields)


def _event(type_: str, code: str | None, fields: dict[str, Any]) -> TransferEvent:
    defaults: dict[str, Any] = {
        "event_id": new_id(),
        "transfer_id": new_id(),
        "kind": "transfer",
        "amount": 1050,
        "currency": "USD",
        "from_wallet_id": new_id(),
        "to_wallet_id": new_id(),
        "sender_id": new_id(),
        "recipient_id": new_id(),
        "description": None,
        "occurred_at": AT,
        "request_id": "request-1",
        "traceparent": None,
    }
    return TransferEvent(type=type_, failure_code=code, **(defaults | fields))
