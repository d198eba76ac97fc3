"""Wallets, balances, statements and recipients."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from services.chassis.period import Moment
from services.gateway.schemas.types import CurrencyCode, Email, Reply, Request, SignedAmount


class NewWallet(Request):
    """A wallet in another currency."""

    currency: CurrencyCode


class BalanceQuery(Request):
    """The balance at which moment."""

    at: Moment | None = Field(None, description="Now, unless it is given.")


class RecipientQuery(Request):
    """Whom to look for."""

    email: Email


class Wallet(Reply):
    """A wallet. `available` is `balance` less `held`."""

    id: UUID
    owner_id: UUID
    currency: str
    balance: SignedAmount
    available: SignedAmount
    held: SignedAmount
    status: Literal["open", "frozen"]
    created_at: AwareDatetime


class WalletPage(Reply):
    """Wallets, in the order in which they were opened."""

    items: list[Wallet]
    next_cursor: str | None


class Balance(Reply):
    """A balance at an instant."""

    balance: SignedAmount
    available: SignedAmount
    held: SignedAmount
    as_of: AwareDatetime


class Counterparty(Reply):
    """The other side of an entry; `name` is null for the outside world and while names cannot be told."""

    wallet_id: UUID
    name: str | None


class Entry(Reply):
    """A line of a statement; `amount` is negative where money left."""

    seq: int
    transfer_id: UUID
    amount: SignedAmount
    balance_after: SignedAmount
    counterparty: Counterparty | None
    description: str | None
    created_at: AwareDatetime


class EntryPage(Reply):
    """Lines of a statement, newest first."""

    items: list[Entry]
    next_cursor: str | None


class Recipient(Reply):
    """Who would get it; the name is masked."""

    user_id: UUID
    name: str
