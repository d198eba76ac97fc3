"""A transfer and its rules, pure: states, who may see it, what its request hash covers."""

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
"""How long after its expiry a transfer may still be on its way to its outcome: a pass of the reversal, and some."""

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
    """A transfer as it is recorded. Amount in minor units; times of an outcome are the ledger's."""

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

    @property
    def final_by(self) -> datetime:
        """Done or cancelled by then, as long as the ledger can be reached."""
        return self.expires_at + FINALIZE_MARGIN

    @property
    def terminal(self) -> bool:
        """Whether it has its outcome, for ever."""
        return self.status != PENDING

    def as_accepted(self) -> Transfer:
        """As it was in the accepting commit: what every replay of its key is answered."""
        return self._replace(status=PENDING, completed_at=None, failed_at=None, failure_code=None)

    def seen_by(self, viewer: UUID) -> Transfer | None:
        """What this user may see: the sender all of it; the recipient, once completed, all but what is the sender's own."""
        if viewer == self.user_id:
            return self
        if viewer == self.recipient_id and self.status == COMPLETED:
            return self._replace(metadata=None)
        return None


def request_hash(source_id: UUID, destination_id: UUID, amount: int, currency: str) -> bytes:
    """What the wallet holds a transfer id to: the same id with anything else is a conflict."""
    return sha256(f"{source_id}|{destination_id}|{amount}|{currency}".encode()).digest()
