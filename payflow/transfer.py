"""A transfer as its sender or receiver sees it, and its timeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from payflow import document as read

PENDING = "PENDING"
COMPLETED = "COMPLETED"
FAILED = "FAILED"

ACCEPTED = "accepted"
"""The first step of every timeline."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a transfer failed: a code and a sentence."""

    code: str
    message: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A transfer of `amount` (minor units).

    `status` is PENDING, then COMPLETED or FAILED permanently. `idempotency_key` is set only on a transfer that this client
    sent or looked up by its key; `replayed` is whether an earlier request with that key had created it. `document` is the
    gateway's JSON, with fields that this version does not know. `expected_by` is when it is probably final; None: unknown.
    """

    id: str
    kind: str
    status: str
    amount: int
    currency: str
    from_wallet_id: str
    to_wallet_id: str
    description: str | None
    metadata: Mapping[str, Any] | None
    created_at: datetime
    final_by: datetime | None
    completed_at: datetime | None
    failed_at: datetime | None
    failure: Failure | None
    idempotency_key: str | None = None
    replayed: bool = False
    expected_by: datetime | None = None
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def is_finalized(self) -> bool:
        """Whether it is COMPLETED or FAILED."""
        return self.status != PENDING

    @property
    def is_completed(self) -> bool:
        """Whether the money moved."""
        return self.status == COMPLETED

    @classmethod
    def read(cls, document: Mapping[str, Any], *, idempotency_key: str | None = None, replayed: bool = False) -> Self:
        """From the gateway's JSON."""
        failure = document.get("failure")
        return cls(
            id=document["id"],
            kind=document["kind"],
            status=document["status"],
            amount=read.integer(document["amount"]),
            currency=document["currency"],
            from_wallet_id=document["from_wallet_id"],
            to_wallet_id=document["to_wallet_id"],
            description=document.get("description"),
            metadata=document.get("metadata"),
            created_at=read.moment(document["created_at"]),
            final_by=read.moment_or_none(document.get("final_by")),
            completed_at=read.moment_or_none(document.get("completed_at")),
            failed_at=read.moment_or_none(document.get("failed_at")),
            failure=Failure(failure["code"], failure.get("message")) if failure else None,
            idempotency_key=idempotency_key,
            replayed=replayed,
            expected_by=read.moment_or_none(document.get("expected_by")),
            document=document,
        )


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a transfer: when, in which service, what happened, and details."""

    at: datetime
    service: str
    step: str
    detail: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The steps of one transfer in time order.

    `waiting_for` is None, `relay`, `broker`, `worker`, `wallet` or `reversal`; `summary` is a sentence for the customer;
    `unavailable` lists the services that did not respond.
    """

    transfer_id: str
    status: str
    steps: tuple[Step, ...]
    waiting_for: str | None
    summary: str
    unavailable: tuple[str, ...]
    as_of: datetime | None = None
    """The time of the server, by which the wait is measured."""
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        return cls(
            transfer_id=document["transfer_id"],
            status=document["status"],
            steps=tuple(
                Step(read.moment(step["at"]), step["service"], step["step"], step.get("detail"))
                for step in document["steps"]
            ),
            waiting_for=document.get("waiting_for"),
            summary=document["summary"],
            unavailable=tuple(document.get("unavailable") or ()),
            as_of=read.moment_or_none(document.get("as_of")),
            document=document,
        )
