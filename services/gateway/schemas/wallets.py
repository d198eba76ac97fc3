"""Wallets, balances, statements and recipients."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from services.chassis.period import Moment
from services.gateway.schemas.types import CurrencyCode, Email, Request, Response, SignedAmount


class NewWallet(Request):
    """A new wallet."""

    currency: CurrencyCode


class BalanceQuery(Request):
    """Balance query."""

    at: Moment | None = Field(None, description="The instant; now by default.")


class RecipientQuery(Request):
    """Recipient query."""

    email: Email


class Wallet(Response):
    """A wallet. `available` is `balance` less `held`."""

    id: UUID
    owner_id: UUID
    currency: str
    balance: SignedAmount
    available: SignedAmount
    held: SignedAmount
    status: Literal["open", "frozen"]
    created_at: AwareDatetime


class WalletPage(Response):
    """A page of wallets, in the order in which they were opened."""

    items: list[Wallet]
    next_cursor: str | None


class Balance(Response):
    """A balance at an instant."""

    balance: SignedAmount
    available: SignedAmount
    held: SignedAmount
    as_of: AwareDatetime


class Counterparty(Response):
    """The other side of an entry; `name` is null for external accounts and if names are unavailable."""

    wallet_id: UUID
    name: str | None


class Entry(Response):
    """An entry of a statement; `amount` is negative for a debit."""

    seq: int
    transfer_id: UUID
    amount: SignedAmount
    balance_after: SignedAmount
    counterparty: Counterparty | None
    description: str | None
    created_at: AwareDatetime


class EntryPage(Response):
    """A page of a statement, newest first."""

    items: list[Entry]
    next_cursor: str | None


class RecipientInfo(Response):
    """A possible recipient; the name is masked."""

    user_id: UUID
    name: str
