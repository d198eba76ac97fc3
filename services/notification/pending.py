"""PENDING events of transfers that are not final soon after acceptance.

There is no message for it. Most transfers are final within moments and have no PENDING event. Those that take longer are polled
from the transaction service, so that senders see them while a queue is blocked. One that is final before the next poll has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from services.notification import commands
from services.notification.feed import PendingTransfer, Transfer
from services.notification.poller import Listed, Source


def parse(item: Mapping[str, Any]) -> Listed[PendingTransfer]:
    """A transfer of the list."""
    transfer = Transfer(
        id=UUID(item["id"]),
        kind=item["kind"],
        amount=item["amount"],
        currency=item["currency"],
        from_wallet_id=UUID(item["from_wallet_id"]),
        to_wallet_id=UUID(item["to_wallet_id"]),
        description=item["description"],
    )
    expires_at = datetime.fromisoformat(item["expires_at"])
    return Listed(transfer.id, expires_at, PendingTransfer(transfer, UUID(item["sender_id"]), expires_at))


SOURCE = Source("/internal/pending", "expires_after", timedelta(seconds=2), parse, commands.record_pending)
