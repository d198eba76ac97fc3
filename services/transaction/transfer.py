"""A transfer and its rules: states, visibility, request hash. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

PENDING = "PENDING"
COMPLETED = "COMPLETED"
FAILED = "FAILED"

CANCELLED = "cancelled"
TIMED_OUT = "timed_out"

FINALIZE_MARGIN = timedelta(seconds=30)
"""How long after its expiry a transfer may still become final: a pass of the reversal, with a margin."""

FAILURES = {
    "insufficient_funds": "The wallet did not hold enough money.",
    "wallet_not_found": "One of the wallets does not exist.",
    "wallet_frozen": "One of the wallets is frozen.",
    "currency_mismatch": "One of the wallets is in another currency.",
    "balance_limit": "A wallet cannot hold that much.",
    TIMED_OUT: "The transfer could not be carried out in time. No money has moved.",
    CANCELLED: "The sender cancelled the transfer. No money has moved.",
}


class Transfer(NamedTuple):
    """A transfer as recorded. Amount in minor units; the time of an outcome is the ledger's."""

    id: UUID
    user_id: UUID
    recipient_id: UUID | None
    kind: str
    status: str
    amount: int
    currency: str
    from_wallet_id: UUID
    to_wallet_id: UUID
    description: str | None
    metadata: dict[str, Any] | None
    request_hash: bytes
    created_at: datetime
    expires_at: datetime
    completed_at: datetime | None
    failed_at: datetime | None
    failure_code: str | None
    expected_by: datetime | None = None
    """When it is probably final, as expected at acceptance; None: nothing could be expected."""

    @property
    def final_by(self) -> datetime:
        """The transfer is final by then, as long as the ledger is reachable."""
        return self.expires_at + FINALIZE_MARGIN

    @property
    def terminal(self) -> bool:
        """Whether it has its outcome, which never changes."""
        return self.status != PENDING

    def as_accepted(self) -> Transfer:
        """The transfer as the accepting commit recorded it: the response to every replay of its key."""
        return self._replace(status=PENDING, completed_at=None, failed_at=None, failure_code=None)

    def visible_to(self, viewer: UUID) -> Transfer | None:
        """What this user may see: the sender everything; the recipient, once it is completed, everything but the metadata."""
        if viewer == self.user_id:
            return self
        if viewer == self.recipient_id and self.status == COMPLETED:
            return self._replace(metadata=None)
        return None


def request_hash(source_id: UUID, destination_id: UUID, amount: int, currency: str) -> bytes:
    """The hash that the wallet stores with a transfer id: the same id with another hash is a conflict."""
    return sha256(f"{source_id}|{destination_id}|{amount}|{currency}".encode()).digest()
