"""What the comparison of the databases can find about one transfer, key, wallet or user, and what it means. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

COMPLETED, FAILED, PENDING = "COMPLETED", "FAILED", "PENDING"
POSTED = "posted"
PENDING_EVENT = "transfer.pending"
EVENT_OF = {COMPLETED: "transfer.completed", FAILED: "transfer.failed"}

WALLET_OLDER = "The wallet database is older than the transaction database."
TRANSACTION_OLDER = "The transaction database is older than the wallet database."


class Kind(StrEnum):
    """A mismatch between two databases."""

    COMPLETED_WITHOUT_OUTCOME = "completed_without_outcome"
    COMPLETED_NOT_POSTED = "completed_not_posted"
    FAILED_WITHOUT_OUTCOME = "failed_without_outcome"
    FAILED_BUT_POSTED = "failed_but_posted"
    FAILURE_DIFFERS = "failure_differs"
    OUTCOME_WITHOUT_TRANSFER = "outcome_without_transfer"
    REQUEST_DIFFERS = "request_differs"
    KEY_WITHOUT_TRANSFER = "key_without_transfer"
    TRANSFER_WITHOUT_KEY = "transfer_without_key"
    KEY_DIFFERS = "key_differs"
    EVENT_WITHOUT_TRANSFER = "event_without_transfer"
    EVENT_DIFFERS = "event_differs"
    EVENT_MISSING = "event_missing"
    WALLET_WITHOUT_ACCOUNT = "wallet_without_account"
    ACCOUNT_WITHOUT_USER = "account_without_user"


MEANING = {
    Kind.COMPLETED_WITHOUT_OUTCOME: f"{WALLET_OLDER} The sender was shown a payment that the ledger has not made.",
    Kind.COMPLETED_NOT_POSTED: "The sender was shown a payment that the ledger refused.",
    Kind.FAILED_WITHOUT_OUTCOME: f"{WALLET_OLDER} A late command could still move the money of a failed transfer.",
    Kind.FAILED_BUT_POSTED: "Money moved for a transfer that its sender was shown as failed.",
    Kind.FAILURE_DIFFERS: "The two databases give different reasons for the failure.",
    Kind.OUTCOME_WITHOUT_TRANSFER: f"{TRANSACTION_OLDER} A retry of the request, with the same key, would pay again.",
    Kind.REQUEST_DIFFERS: "The ledger knows this id with other wallets, another amount or another currency.",
    Kind.KEY_WITHOUT_TRANSFER: "A retry with this key would get the response of a transfer that does not exist.",
    Kind.TRANSFER_WITHOUT_KEY: "A retry of the request would pay again.",
    Kind.KEY_DIFFERS: "The transfer has several keys, or the key of another user.",
    Kind.EVENT_WITHOUT_TRANSFER: "The transaction database is older than the notification database.",
    Kind.EVENT_DIFFERS: "Users were notified of an outcome that the transfer does not have.",
    Kind.EVENT_MISSING: "The notification database has passed this outcome without recording it: no user is notified.",
    Kind.WALLET_WITHOUT_ACCOUNT: f"{WALLET_OLDER} Transfers from and to this wallet are rejected.",
    Kind.ACCOUNT_WITHOUT_USER: "The auth database is older than the wallet database: no user can reach this money.",
}
"""What each kind of finding says about the databases, and its consequence."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One mismatch: its kind, the id it is about, and what was read."""

    kind: Kind
    id: UUID
    detail: str

    def __str__(self) -> str:
        """One line."""
        return f"{self.kind} {self.id}: {self.detail}"


class Transfer(NamedTuple):
    """A row of the transaction database. `is_announced`: the notification database must have its event."""

    id: UUID
    status: str
    failure_code: str | None
    request_hash: bytes
    money: tuple[UUID, UUID, int, str]
    is_announced: bool


class Outcome(NamedTuple):
    """A row of the wallet database; `money` is that of its entries: source, destination, amount, currency."""

    transfer_id: UUID
    outcome: str
    reason: str | None
    request_hash: bytes
    money: tuple[UUID | None, UUID | None, int | None, str | None]


class Events(NamedTuple):
    """The events about one transfer in the notification database."""

    transfer_id: UUID
    types: tuple[str, ...]


def examine(transfer: Transfer | None, outcome: Outcome | None, events: Events | None) -> Iterator[Finding]:
    """What is wrong with one transfer id; at least one of the three is given."""
    if transfer is None:
        if outcome is not None:
            detail = f"the outcome is {outcome.outcome}, the transfer does not exist"
            yield Finding(Kind.OUTCOME_WITHOUT_TRANSFER, outcome.transfer_id, detail)
        if events is not None:
            detail = f"{', '.join(events.types)}, the transfer does not exist"
            yield Finding(Kind.EVENT_WITHOUT_TRANSFER, events.transfer_id, detail)
        return
    if outcome is None:
        yield from _without_outcome(transfer)
    else:
        yield from _against_outcome(transfer, outcome)
    yield from _against_events(transfer, events)


def _without_outcome(transfer: Transfer) -> Iterator[Finding]:
    """A PENDING transfer may have none yet."""
    kinds = {COMPLETED: Kind.COMPLETED_WITHOUT_OUTCOME, FAILED: Kind.FAILED_WITHOUT_OUTCOME}
    kind = kinds.get(transfer.status)
    if kind is not None:
        yield Finding(kind, transfer.id, f"the transfer is {transfer.status} and has no outcome")


def _against_outcome(transfer: Transfer, outcome: Outcome) -> Iterator[Finding]:
    """A PENDING transfer may have any outcome: it is recorded next."""
    is_posted = outcome.outcome == POSTED
    detail = f"the transfer is {transfer.status} and its outcome is {outcome.outcome}"
    if transfer.status == COMPLETED and not is_posted:
        yield Finding(Kind.COMPLETED_NOT_POSTED, transfer.id, detail)
    elif transfer.status == FAILED and is_posted:
        yield Finding(Kind.FAILED_BUT_POSTED, transfer.id, detail)
    elif transfer.status == FAILED and transfer.failure_code != outcome.reason:
        reasons = f"it failed by {transfer.failure_code}, and by {outcome.reason} in the ledger"
        yield Finding(Kind.FAILURE_DIFFERS, transfer.id, reasons)
    if outcome.request_hash != transfer.request_hash or (is_posted and outcome.money != transfer.money):
        yield Finding(
            Kind.REQUEST_DIFFERS, transfer.id, f"{_text(transfer.money)}; in the ledger {_text(outcome.money)}"
        )


def _against_events(transfer: Transfer, events: Events | None) -> Iterator[Finding]:
    """The event that it is PENDING may come at any time, or not at all."""
    expected = EVENT_OF.get(transfer.status)
    found = tuple(type_ for type_ in (events.types if events else ()) if type_ != PENDING_EVENT)
    if found and found != (expected,):
        detail = f"the transfer is {transfer.status} and its events are {', '.join(found)}"
        yield Finding(Kind.EVENT_DIFFERS, transfer.id, detail)
    elif not found and transfer.is_announced:
        yield Finding(Kind.EVENT_MISSING, transfer.id, f"the transfer is {transfer.status} and has no event")


def _text(money: tuple[object, object, object, object]) -> str:
    source, destination, amount, currency = money
    return f"{amount} {currency} from {source} to {destination}"
