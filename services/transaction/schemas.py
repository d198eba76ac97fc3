"""JSON of the internal routes of the transaction service."""

from __future__ import annotations

import base64
import json
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from services.chassis.body import InvalidParameter, InvalidRequest, invalid, parse, validate_json
from services.chassis.database import Record
from services.chassis.period import PeriodParameters, read_moment
from services.contracts import limits
from services.contracts.identifiers import parse_id
from services.contracts.messages import TransferEvent, encode_item, format_time
from services.contracts.money import AMOUNT_MAX, check_currency
from services.contracts.refusal import Refusal
from services.transaction.commands import Accepted
from services.transaction.intake import Request
from services.transaction.simulation import DELAY_SECONDS_MAX, EXPIRES_SECONDS_MAX, Simulation
from services.transaction.store import NEWEST, Filter, Finalized, Position
from services.transaction.transfer import FAILURES, Transfer

FINALIZED_MAX = 1000
EVENTS_MAX = 500


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Recipient(_Model):
    """The recipient: a user by e-mail address, or a wallet."""

    email: str | None = None
    wallet_id: UUID | None = None

    @model_validator(mode="after")
    def _one(self) -> Recipient:
        if (self.email is None) == (self.wallet_id is None):
            raise ValueError("needs exactly one of email and wallet_id")
        return self


class TransferItem(_Model):
    """One request to move money, with the ids that its messages and log lines carry."""

    user_id: UUID
    idempotency_key: Annotated[str, Field(min_length=1, max_length=limits.IDEMPOTENCY_KEY_LENGTH_MAX)]
    request_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    kind: Literal["transfer", "deposit"]
    amount: Annotated[int, Field(strict=True, gt=0, le=AMOUNT_MAX)]
    currency: Annotated[str, AfterValidator(check_currency)]
    to: Recipient
    from_wallet_id: UUID | None = None
    description: Annotated[str, Field(max_length=limits.DESCRIPTION_LENGTH_MAX)] | None = None
    metadata: dict[str, Any] | None = None
    request_id: Annotated[str, Field(max_length=limits.REQUEST_ID_LENGTH_MAX)]
    traceparent: str | None = None

    def request(self) -> Request:
        """The request in the form of the intake."""
        return Request(
            user_id=self.user_id,
            idempotency_key=self.idempotency_key,
            key_hash=bytes.fromhex(self.request_hash),
            kind=self.kind,
            amount=self.amount,
            currency=self.currency,
            to_email=self.to.email,
            to_wallet_id=self.to.wallet_id,
            from_wallet_id=self.from_wallet_id,
            description=self.description,
            metadata=self.metadata,
            request_id=self.request_id,
            traceparent=self.traceparent,
        )


class TransferRequest(_Model):
    """A batch of requests to move money."""

    items: Annotated[list[TransferItem], Field(min_length=1, max_length=limits.ITEMS_MAX)]


class SimulationFields(_Model):
    """The simulated failure of one request."""

    unchecked: bool = False
    delay_seconds: Annotated[float, Field(ge=0, le=DELAY_SECONDS_MAX)] = 0.0
    expires_seconds: Annotated[float, Field(gt=0, le=EXPIRES_SECONDS_MAX)] | None = None


class SimulatedItem(TransferItem):
    """A request in demo mode. Otherwise `simulation` is an unknown field."""

    simulation: SimulationFields | None = None

    def request(self) -> Request:
        """The request in the form of the intake, with its simulation."""
        request = super().request()
        if self.simulation is None:
            return request
        return request._replace(simulation=Simulation(**dict(self.simulation)))


class SimulatedRequest(_Model):
    """A batch of requests in demo mode."""

    items: Annotated[list[SimulatedItem], Field(min_length=1, max_length=limits.ITEMS_MAX)]


class CancelRequest(_Model):
    """The user who cancels."""

    viewer: UUID


class FreezeHintRequest(_Model):
    """Whether the wallet is frozen."""

    frozen: bool


class FinalizedQuery(_Model):
    """A position in the order in which transfers were finalized, and a page size."""

    finalized_at: AwareDatetime
    transfer_id: UUID
    limit: Annotated[int, Field(ge=1, le=FINALIZED_MAX)] = FINALIZED_MAX

    @property
    def after(self) -> Finalized:
        """The position."""
        return Finalized(self.finalized_at, self.transfer_id)


class PendingQuery(_Model):
    """The earliest expiry, and a page size."""

    expires_after: AwareDatetime
    limit: Annotated[int, Field(ge=1, le=FINALIZED_MAX)] = FINALIZED_MAX


class LateQuery(_Model):
    """The earliest expected completion, and a page size."""

    expected_after: AwareDatetime
    limit: Annotated[int, Field(ge=1, le=FINALIZED_MAX)] = FINALIZED_MAX


class EventsRequest(_Model):
    """The transfers whose events are requested."""

    transfer_ids: Annotated[list[UUID], Field(min_length=1, max_length=EVENTS_MAX)]


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    viewer: UUID


class GetQuery(_Query):
    """The viewer of a transfer, and how many seconds to wait for its outcome."""

    wait: Annotated[float, Field(ge=0, le=limits.PREFER_WAIT_SECONDS_MAX)] = 0.0


class StepsQuery(BaseModel):
    """The viewer of the progress of a transfer; None: an operator."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    viewer: UUID | None = None


class ListQuery(_Query, PeriodParameters):
    """A page of the viewer's transfers, with filters."""

    status: Literal["PENDING", "COMPLETED", "FAILED"] | None = None
    kind: Literal["transfer", "deposit"] | None = None
    wallet_id: UUID | None = None
    idempotency_key: str | None = None
    limit: Annotated[int, Field(ge=1, le=limits.PAGE_MAX)] = limits.PAGE_DEFAULT
    cursor: str | None = None

    @property
    def matching(self) -> Filter:
        """The filters, without the page."""
        return Filter(self.status, self.kind, self.wallet_id, *self.period)


TRANSFERS = TypeAdapter(TransferRequest)
ITEM = TypeAdapter(TransferItem)
SIMULATED_TRANSFERS = TypeAdapter(SimulatedRequest)
SIMULATED_ITEM = TypeAdapter(SimulatedItem)
CANCEL = TypeAdapter(CancelRequest)
FREEZE_HINT = TypeAdapter(FreezeHintRequest)
GET = TypeAdapter(GetQuery)
STEPS = TypeAdapter(StepsQuery)
LIST = TypeAdapter(ListQuery)
FINALIZED = TypeAdapter(FinalizedQuery)
PENDING = TypeAdapter(PendingQuery)
LATE = TypeAdapter(LateQuery)
EVENTS = TypeAdapter(EventsRequest)


def read_requests(raw: bytes, *, simulates: bool = False) -> list[Request | InvalidRequest]:
    """The requests of a batch; a malformed item is refused alone. `simulates`: demo mode, in which `simulation` is a field.

    Raises:
        InvalidRequest, MalformedJson: there is no list of items.
    """
    try:
        batch = validate_json(SIMULATED_TRANSFERS, raw) if simulates else validate_json(TRANSFERS, raw)
        return [item.request() for item in batch.items]
    except InvalidRequest:
        items = parse(raw).get("items")
        if not isinstance(items, list) or not 0 < len(items) <= limits.ITEMS_MAX:
            raise
        return [_read_request(item, SIMULATED_ITEM if simulates else ITEM) for item in items]


def _read_request(item: Any, model: TypeAdapter[Any]) -> Request | InvalidRequest:
    try:
        request: Request = model.validate_json(json.dumps(item)).request()
    except ValidationError as error:
        return invalid(error)
    return request


def transfer(found: Transfer) -> dict[str, Any]:
    """The public form of a transfer."""
    failure = None
    if found.failure_code is not None:
        failure = {
            "code": found.failure_code,
            "message": FAILURES.get(found.failure_code, "The transfer could not be carried out."),
        }
    return {
        "id": str(found.id),
        "kind": found.kind,
        "status": found.status,
        "amount": found.amount,
        "currency": found.currency,
        "from_wallet_id": str(found.from_wallet_id),
        "to_wallet_id": str(found.to_wallet_id),
        "description": found.description,
        "metadata": found.metadata,
        "created_at": format_time(found.created_at),
        "expected_by": format_time(found.expected_by) if found.expected_by else None,
        "processing": None if found.terminal else "normal" if found.expected_by else "delayed",
        "final_by": format_time(found.final_by),
        "completed_at": format_time(found.completed_at) if found.completed_at else None,
        "failed_at": format_time(found.failed_at) if found.failed_at else None,
        "failure": failure,
    }


def result(accepted: Accepted | Refusal) -> dict[str, Any]:
    """One item of the response to a batch."""
    if isinstance(accepted, Refusal):
        return {"problem": accepted.problem(), "headers": accepted.headers}
    return {"transfer": transfer(accepted.transfer), "replayed": accepted.replayed}


def page(found: list[Transfer], limit: int) -> dict[str, Any]:
    """A page of transfers. One more than `limit` in `found` means that there is a next page."""
    items = found[:limit]
    return {
        "items": [transfer(one) for one in items],
        "next_cursor": encode_cursor(items[-1]) if len(found) > limit else None,
    }


def finalized(found: list[Finalized]) -> dict[str, Any]:
    """The ids in order, and the time of the last; that id and time are the position of the next list."""
    return {
        "transfer_ids": [str(one.transfer_id) for one in found],
        "finalized_at": format_time(found[-1].at) if found else None,
    }


def pending(rows: list[Record]) -> dict[str, Any]:
    """PENDING transfers, with the fields of their senders' events."""
    return {
        "items": [
            {
                "id": str(row["id"]),
                "kind": row["kind"],
                "amount": row["amount"],
                "currency": row["currency"],
                "from_wallet_id": str(row["from_wallet_id"]),
                "to_wallet_id": str(row["to_wallet_id"]),
                "sender_id": str(row["user_id"]),
                "description": row["description"],
                "expires_at": format_time(row["expires_at"]),
            }
            for row in rows
        ]
    }


def late(rows: list[Record]) -> dict[str, Any]:
    """PENDING transfers that are later than expected, with what their senders are notified of."""
    return {
        "items": [
            {
                "id": str(row["id"]),
                "kind": row["kind"],
                "amount": row["amount"],
                "currency": row["currency"],
                "sender_id": str(row["user_id"]),
                "description": row["description"],
                "expected_by": format_time(row["expected_by"]),
                "expires_at": format_time(row["expires_at"]),
            }
            for row in rows
        ]
    }


def events(found: list[TransferEvent]) -> str:
    """Events as JSON text, each in the format of a message."""
    return f'{{"events":[{",".join(encode_item(event) for event in found)}]}}'


def encode_cursor(last: Transfer) -> str:
    """The position after which the next page begins, as opaque text."""
    text = f"{format_time(last.created_at)}/{last.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> Position:
    """The position below which the page begins.

    Raises:
        InvalidParameter
    """
    if cursor is None:
        return NEWEST
    try:
        moment, _, text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition("/")
        created_at, transfer_id = read_moment(moment), parse_id(text)
    except ValueError:
        transfer_id = None
    if transfer_id is None:
        raise InvalidParameter("cursor", "is not a cursor of this list")
    return Position(created_at, transfer_id)
