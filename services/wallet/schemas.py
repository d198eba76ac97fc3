"""Requests and responses of the internal routes of the wallet service."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    GetPydanticSchema,
    PlainValidator,
    TypeAdapter,
)
from pydantic_core.core_schema import no_info_after_validator_function, str_schema

from services.chassis.body import Id, InvalidParameter
from services.chassis.database import Uuid
from services.chassis.period import Moment, PeriodParameters
from services.contracts import limits
from services.contracts.messages import format_time
from services.contracts.money import AMOUNT_MAX, check_currency
from services.wallet.commands import Void
from services.wallet.ledger import Posting, Result
from services.wallet.proof import CHECKS_TOTAL
from services.wallet.seal import Head
from services.wallet.store import SEQ_MAX, Line, Proof, Wallet
from services.wallet.store_admission import Admission
from services.wallet.store_proof_run import ProofRun


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text)


CurrencyCode = Annotated[str, AfterValidator(check_currency)]
RequestHash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RowId = Annotated[UUID, GetPydanticSchema(lambda _type, _handler: no_info_after_validator_function(Uuid, str_schema()))]
"""An id in the form of the driver, for batches."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PostItem(_Model):
    """One transfer to post."""

    transfer_id: RowId
    source_id: RowId
    destination_id: RowId
    amount: Annotated[int, Field(strict=True, gt=0, le=AMOUNT_MAX)]
    currency: CurrencyCode
    expires_at: AwareDatetime
    description: str | None
    request_hash: RequestHash
    traceparent: str | None = None

    def posting(self) -> Posting:
        """The posting for the ledger."""
        return Posting(
            self.transfer_id,
            self.source_id,
            self.destination_id,
            self.amount,
            self.currency,
            self.expires_at,
            self.description,
            _bytes(self.request_hash),
        )


class PostRequest(_Model):
    """A batch to post."""

    items: Annotated[list[PostItem], Field(min_length=1, max_length=limits.ITEMS_MAX)]


class VoidItem(_Model):
    """One transfer to void."""

    transfer_id: RowId
    reason: Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")]
    request_hash: RequestHash

    def void(self) -> Void:
        """The void for the command."""
        return Void(self.transfer_id, self.reason, _bytes(self.request_hash))


class VoidRequest(_Model):
    """A batch to void."""

    items: Annotated[list[VoidItem], Field(min_length=1, max_length=limits.ITEMS_MAX)]


class OpenRequest(_Model):
    """Open a wallet."""

    owner_id: UUID
    currency: CurrencyCode


class OwnerCurrency(_Model):
    """The owner and the currency of a wallet."""

    owner_id: UUID
    currency: CurrencyCode


class FindRequest(_Model):
    """Accounts to find: by id, by owner and currency, or external ones by currency."""

    ids: Annotated[list[UUID], Field(max_length=limits.ITEMS_MAX)] = []
    owners: Annotated[list[OwnerCurrency], Field(max_length=limits.ITEMS_MAX)] = []
    external: Annotated[list[CurrencyCode], Field(max_length=limits.ITEMS_MAX)] = []


class AvailabilityItem(_Model):
    """A wallet, and the pending transfers of its owner."""

    wallet_id: RowId
    transfer_ids: Annotated[list[RowId], Field(max_length=limits.ITEMS_MAX)]


class AvailabilityRequest(_Model):
    """Several wallets at one instant."""

    items: Annotated[list[AvailabilityItem], Field(min_length=1, max_length=limits.ITEMS_MAX)]


class ReadItem(_Model):
    """A wallet to read, and the user whose wallet it must be."""

    wallet_id: RowId
    owner_id: RowId


class ReadRequest(_Model):
    """Several wallets to read."""

    items: Annotated[list[ReadItem], Field(min_length=1, max_length=limits.ITEMS_MAX)]


class FreezeRequest(_Model):
    """The operator who freezes or unfreezes, and the request."""

    operator_id: UUID
    request_id: str


class AdmitRequest(_Model):
    """Why a late outcome is genuine, the operator who admits it, and the request."""

    reason: Annotated[str, Field(min_length=1, max_length=limits.ADMISSION_REASON_LENGTH_MAX)]
    operator_id: UUID
    request_id: str


class OwnerQuery(_Model):
    """The owner of wallets."""

    owner_id: Id


def _head(text: Any) -> Head:
    try:
        return Head.parse(text)
    except (ValueError, AttributeError):
        raise ValueError("must be a block's number and hash as NUMBER:HASH") from None


class ProofQuery(_Model):
    """The last run of the proof, or a new one: of everything (`full`, or a `head` that must be found), or of what is `new`."""

    full: bool = False
    new: bool = False
    head: Annotated[Head, PlainValidator(_head)] | None = None


class StartProof(_Model):
    """A run of the proof: of everything (`full`), or from the last verified block on. `head` must be found."""

    full: bool = False
    head: Annotated[Head, PlainValidator(_head)] | None = None


class BalanceQuery(_Model):
    """The moment of a balance."""

    at: Moment | None = None


class StatementQuery(_Model, PeriodParameters):
    """Filters and position of a page of entries."""

    limit: Annotated[int, Field(ge=1, le=limits.PAGE_MAX)] = limits.PAGE_DEFAULT
    cursor: str | None = None


POST = TypeAdapter(PostRequest)
VOID = TypeAdapter(VoidRequest)
OPEN = TypeAdapter(OpenRequest)
FIND = TypeAdapter(FindRequest)
AVAILABILITY = TypeAdapter(AvailabilityRequest)
READ = TypeAdapter(ReadRequest)
FREEZE = TypeAdapter(FreezeRequest)
ADMIT = TypeAdapter(AdmitRequest)
OWNER = TypeAdapter(OwnerQuery)
PROOF = TypeAdapter(ProofQuery)
START_PROOF = TypeAdapter(StartProof)
BALANCE = TypeAdapter(BalanceQuery)
STATEMENT = TypeAdapter(StatementQuery)


def results(items: list[Result]) -> dict[str, Any]:
    """The response to post and void: one result per item, in order."""
    return {
        "items": [
            {
                "transfer_id": str(item.transfer_id),
                "outcome": item.outcome,
                "reason": item.reason,
                "at": format_time(item.at) if item.at else None,
            }
            for item in items
        ]
    }


def wallet(found: Wallet) -> dict[str, Any]:
    """A wallet; amounts in minor units."""
    return {
        "id": str(found.id),
        "owner_id": str(found.owner_id) if found.owner_id else None,
        "currency": found.currency,
        "balance": found.posted,
        "available": found.posted - found.held,
        "held": found.held,
        "status": "frozen" if found.frozen else "open",
        "created_at": format_time(found.created_at),
    }


def read(found: tuple[Wallet, datetime] | None) -> dict[str, Any] | None:
    """A wallet and the time at which it was read; None stays None."""
    return None if found is None else {"wallet": wallet(found[0]), "as_of": format_time(found[1])}


def account(found: tuple[UUID, UUID | None, str]) -> dict[str, Any]:
    """The immutable columns of an account."""
    account_id, owner_id, currency = found
    return {"id": str(account_id), "owner_id": str(owner_id) if owner_id else None, "currency": currency}


def balance(posted: int, held: int, as_of: datetime) -> dict[str, Any]:
    """A balance at an instant, in minor units."""
    return {"balance": posted, "available": posted - held, "held": held, "as_of": format_time(as_of)}


def statement(lines: list[Line], limit: int) -> dict[str, Any]:
    """A page of a statement; `lines` has one more than `limit` if there is a next page."""
    page = lines[:limit]
    return {
        "items": [_line(line) for line in page],
        "next_cursor": encode_cursor(page[-1].seq) if len(lines) > limit else None,
    }


def proof(run: Proof) -> dict[str, Any]:
    """A run of the proof."""
    return {
        "ok": run.ok,
        "at": format_time(run.at),
        "checks": [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in run.checks],
        "head": {"number": run.head.number, "hash": run.head.hash.hex()} if run.head else None,
    }


def proof_run(run: ProofRun) -> dict[str, Any]:
    """A requested run of the proof; `proof` is null until it has ended."""
    return {
        "id": str(run.id),
        "state": run.state,
        "full": run.whole,
        "started_at": format_time(run.started_at),
        "updated_at": format_time(run.updated_at),
        "ended_at": None if run.ended_at is None else format_time(run.ended_at),
        "check": run.progress.current,
        "checks_done": run.progress.checks_done,
        "checks_total": CHECKS_TOTAL,
        "blocks_done": run.progress.blocks_done,
        "blocks_total": run.progress.blocks_total,
        "proof": None if run.proof is None else proof(run.proof),
    }


def admission(found: Admission) -> dict[str, Any]:
    """An admission; `block` is null until the outcome is sealed."""
    return {
        "transfer_id": str(found.transfer_id),
        "reason": found.reason,
        "operator_id": str(found.operator_id),
        "at": format_time(found.at),
        "block": found.block,
    }


def encode_cursor(seq: int) -> str:
    """The cursor of the next page, as opaque text."""
    return base64.urlsafe_b64encode(f"seq:{seq}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> int | None:
    """The seq below which the page starts; None: start at the newest.

    Raises:
        InvalidParameter
    """
    if cursor is None:
        return None
    try:
        kind, _, seq = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition(":")
        if kind == "seq" and 0 < int(seq) <= SEQ_MAX:
            return int(seq)
    except ValueError:
        pass
    raise InvalidParameter("cursor", "is not a cursor of this list")


def _line(line: Line) -> dict[str, Any]:
    owner = line.counterparty_owner_id
    return {
        "seq": line.seq,
        "transfer_id": str(line.transfer_id),
        "amount": line.amount,
        "balance_after": line.balance_after,
        "counterparty": {"wallet_id": str(line.counterparty_id), "owner_id": str(owner) if owner else None},
        "description": line.description,
        "created_at": format_time(line.created_at),
    }
