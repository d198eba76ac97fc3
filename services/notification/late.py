"""Transfers that take longer than expected. Their senders are notified once: the money is safe, the outcome follows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from services.contracts.transfer_kinds import KINDS
from services.notification import commands_late
from services.notification.feed import LateTransfer
from services.notification.poller import Listed, Source


def parse(item: Mapping[str, Any]) -> Listed[LateTransfer]:
    """A transfer of the list; with nothing to record if its sender gets no notifications."""
    late = LateTransfer(
        id=UUID(item["id"]),
        sender_id=UUID(item["sender_id"]),
        amount=item["amount"],
        currency=item["currency"],
        description=item["description"],
        expected_by=datetime.fromisoformat(item["expected_by"]),
        expires_at=datetime.fromisoformat(item["expires_at"]),
    )
    return Listed(late.id, late.expected_by, late if KINDS[item["kind"]].notifies_sender else None)


SOURCE = Source("/internal/late", "expected_after", timedelta(seconds=5), parse, commands_late.record_late)
