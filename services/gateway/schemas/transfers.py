"""Transfers and deposits."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints, TypeAdapter, model_validator

from services.contracts import limits
from services.gateway.schemas.system import Problem
from services.gateway.schemas.types import Amount, CurrencyCode, Email, Id, Metadata, PeriodQuery, Request, Response

_KEY = rf"^[\x21-\x7e]{{1,{limits.IDEMPOTENCY_KEY_LENGTH_MAX}}}$"
IdempotencyKey = Annotated[str, StringConstraints(pattern=_KEY)]
WaitingFor = Literal["relay", "broker", "worker", "wallet", "reversal"] | None
Description = Annotated[str, StringConstraints(max_length=limits.DESCRIPTION_LENGTH_MAX)]
TransferStatus = Literal["PENDING", "COMPLETED", "FAILED"]
TransferKind = Literal["transfer", "deposit"]


class Recipient(Request):
    """The recipient: either an e-mail address or a wallet."""

    email: Email | None = None
    wallet_id: Id | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Recipient:
        if (self.email is None) == (self.wallet_id is None):
            raise ValueError("must have either email or wallet_id")
        return self

    def as_dict(self) -> dict[str, str]:
        """The one that is set."""
        return {"email": self.email} if self.email is not None else {"wallet_id": str(self.wallet_id)}


class NewTransfer(Request):
    """A new transfer. Without `from_wallet_id` it is debited from the sender's wallet in this currency."""

    currency: CurrencyCode
    amount: Amount
    to: Recipient
    from_wallet_id: Id | None = None
    description: Description | None = None
    metadata: Metadata | None = None


class NewDeposit(Request):
    """A new deposit: money that came from outside."""

    wallet_id: Id
    amount: Amount
    currency: CurrencyCode
    reference: Annotated[str, StringConstraints(min_length=1, max_length=limits.DESCRIPTION_LENGTH_MAX)]


class TransferQuery(PeriodQuery):
    """Transfer query."""

    status: TransferStatus | None = None
    kind: TransferKind | None = None
    wallet_id: Id | None = None
    idempotency_key: IdempotencyKey | None = None


class Failure(Response):
    """Why a transfer failed."""

    code: Literal[
        "insufficient_funds",
        "wallet_not_found",
        "wallet_frozen",
        "currency_mismatch",
        "balance_limit",
        "timed_out",
        "cancelled",
    ]
    message: str


class Transfer(Response):
    """A transfer. COMPLETED and FAILED are final."""

    id: UUID
    kind: TransferKind
    status: TransferStatus
    amount: Amount
    currency: str
    from_wallet_id: UUID
    to_wallet_id: UUID
    description: str | None
    metadata: dict[str, Any] | None
    created_at: AwareDatetime
    expected_by: AwareDatetime | None = Field(
        description="When it is probably final, as expected at acceptance. Null while nothing can be expected."
    )
    processing: Literal["normal", "delayed"] | None = Field(
        description="While PENDING: `delayed` if background jobs did not respond at acceptance. The transfer is safely recorded."
    )
    final_by: AwareDatetime
    completed_at: AwareDatetime | None
    failed_at: AwareDatetime | None
    failure: Failure | None


class TransferPage(Response):
    """A page of transfers, newest first."""

    items: list[Transfer]
    next_cursor: str | None


class Step(Response):
    """A step of a transfer."""

    at: AwareDatetime
    service: str
    step: Literal[
        "accepted",
        "queued",
        "picked_up",
        "dead_lettered",
        "replayed",
        "discarded",
        "posted",
        "rejected",
        "voided",
        "completed",
        "failed",
        "notified",
    ]
    detail: str | None


class Timeline(Response):
    """The steps of a transfer in order of time, and what it waits for."""

    transfer_id: UUID
    status: TransferStatus
    steps: list[Step]
    waiting_for: WaitingFor
    summary: str
    unavailable: list[str] = Field(
        description="Services that did not respond in time; their steps are missing. With `transaction` among them (for "
        "operators only) the status is that of the ledger's outcome."
    )
    as_of: AwareDatetime | None = Field(description="The time of the server when it read the steps.")


class CancelProblem(Problem):
    """A problem with the transfer in its current state."""

    transfer: Transfer | None = None


TRANSFER: TypeAdapter[Transfer] = TypeAdapter(Transfer)
