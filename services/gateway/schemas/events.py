"""Notifications and live events."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime

from services.gateway.schemas.transfers import Failure, TransferKind, TransferStatus
from services.gateway.schemas.types import Amount, Response


class Notification(Response):
    """A notification for a user."""

    id: UUID
    kind: Literal["transfer_completed", "transfer_received", "transfer_failed", "transfer_late"]
    transfer_id: UUID
    title: str
    body: str
    created_at: AwareDatetime
    read_at: AwareDatetime | None


class TransferUpdate(Response):
    """The state of a transfer after this event; the fields are those of a transfer."""

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


class StreamReset(Response):
    """Why a stream cannot be resumed: the events have expired, or the id is unknown."""

    reason: Literal["too_old", "unknown_id"]


class StreamEnd(Response):
    """Why a stream ends; `code` is also the type of the event."""

    code: Literal["token_expired", "session_ended", "server_draining"]
    detail: str


class NotificationPage(Response):
    """A page of notifications, newest first."""

    items: list[Notification]
    next_cursor: str | None
