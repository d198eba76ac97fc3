"""A wallet as its owner sees it: its balance and its entries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from payflow import document as read


@dataclass(frozen=True, slots=True, kw_only=True)
class Wallet:
    """One user's account in one currency; amounts are in minor units, `available` is `balance` minus `held`.

    `document` is the gateway's JSON.
    """

    id: str
    owner_id: str
    currency: str
    balance: int
    available: int
    held: int
    status: str
    created_at: datetime
    document: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        return cls(
            id=document["id"],
            owner_id=document["owner_id"],
            currency=document["currency"],
            balance=read.integer(document["balance"]),
            available=read.integer(document["available"]),
            held=read.integer(document["held"]),
            status=document["status"],
            created_at=read.moment(document["created_at"]),
            document=document,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """The balance of a wallet at the instant `as_of`, in minor units."""

    balance: int
    available: int
    held: int
    as_of: datetime

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        return cls(
            balance=read.integer(document["balance"]),
            available=read.integer(document["available"]),
            held=read.integer(document["held"]),
            as_of=read.moment(document["as_of"]),
        )


@dataclass(frozen=True, slots=True)
class Counterparty:
    """The other side of an entry."""

    wallet_id: str
    name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a statement: `amount` is signed (credits are positive), in minor units."""

    seq: int
    transfer_id: str
    amount: int
    balance_after: int
    counterparty: Counterparty | None
    description: str | None
    created_at: datetime

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        other = document.get("counterparty")
        return cls(
            seq=read.integer(document["seq"]),
            transfer_id=document["transfer_id"],
            amount=read.integer(document["amount"]),
            balance_after=read.integer(document["balance_after"]),
            counterparty=Counterparty(other["wallet_id"], other.get("name")) if other else None,
            description=document.get("description"),
            created_at=read.moment(document["created_at"]),
        )
