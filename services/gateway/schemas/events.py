"""Notifications and live events."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime

from services.gateway.schemas.transfers import Failure, TransferKind, TransferStatus
from services.gateway.schemas.types import Amount, Reply


class Notification(Reply):
    """A notification to a user."""

    id: UUID
    kind: Literal["transfer_completed", "transfer_received", "transfer_failed"]
    transfer_id: UUID
    title: str
    body: str
    created_at: AwareDatetime
    read_at: AwareDatetime | None


class TransferUpdate(Reply):
    """The transfer as it is since this event; the fields mean what they mean in a transfer."""

    id: UUID
    kind: TransferKind
    status: TransferStatus
    amount: Amount
    currency: str
    from_wallet_id: UUID
    to_wallet_id: UUID
    description: str | None
    completed_at: AwareDatetime | None
    failed_at: AwareDatetime | None
    failure: Failure | None


class StreamReset(Reply):
    """Why a stream could not be resumed: the next events are kept no more, or nobody knows the id."""

    reason: Literal["too_old", "unknown_id"]


class StreamEnd(Reply):
    """Why a stream ends; the machine word is also the type of the event."""

    code: Literal["token_expired", "session_ended", "server_draining"]
    detail: str


class NotificationPage(Reply):
    """Notifications, newest first."""

    items: list[Notification]
    next_cursor: str | None
