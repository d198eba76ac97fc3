"""The messages of the broker: an envelope with a list of commands or events.

The outbox stores each item as one JSON text; the relay joins the waiting texts into an envelope without parsing them again.
Golden samples of the format are in `tests/contracts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson

from services.contracts.identifiers import new_id
from services.contracts.money import AMOUNT_MAX, CURRENCIES
from services.contracts.topology import Route


class MalformedMessage(Exception):  # noqa: N818 - reads as what it is
    """This code can never read the message: it is not JSON, has an unknown version, or an invalid field."""


@dataclass(slots=True)
class TransferCommand:
    """Move this amount, unless this transfer already has an outcome or `expires_at` has passed (by the clock of the ledger)."""

    transfer_id: UUID
    source_id: UUID
    destination_id: UUID
    amount: int
    currency: str
    description: str | None
    request_hash: str
    accepted_at: datetime
    expires_at: datetime
    request_id: str
    traceparent: str | None


@dataclass(slots=True)
class TransferEvent:
    """A transfer has its outcome. `type` is `transfer.completed` or `transfer.failed`; times are those of the ledger."""

    event_id: UUID
    type: str
    transfer_id: UUID
    kind: str
    amount: int
    currency: str
    from_wallet_id: UUID
    to_wallet_id: UUID
    sender_id: UUID
    recipient_id: UUID | None
    description: str | None
    failure_code: str | None
    occurred_at: datetime
    request_id: str
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Envelope:
    """A received message: its type and version, when it was sent, and its undecoded items."""

    id: UUID
    type: str
    version: int
    sent_at: datetime
    items: tuple[dict[str, Any], ...]


def encode_item(item: TransferCommand | TransferEvent) -> str:
    """Encode a command or event as JSON text, its fields in the order of the class."""
    return orjson.dumps(item, default=_plain, option=orjson.OPT_PASSTHROUGH_DATETIME).decode()


def encode_envelope(route: Route, items: Sequence[str], *, sent_at: datetime) -> bytes:
    """Join encoded items into one message, without parsing them."""
    head = orjson.dumps(
        {
            "id": str(new_id()),
            "type": route.type,
            "version": route.version,
            "sent_at": format_time(sent_at),
        }
    ).decode()
    return f'{head[:-1]},"{route.items}":[{",".join(items)}]}}'.encode()


def decode_envelope(route: Route, body: bytes) -> Envelope:
    """Decode a message of this route.

    Raises:
        MalformedMessage: not JSON, another type, an unknown version, or no list of items.
    """
    try:
        document = orjson.loads(body)
        envelope = Envelope(
            id=UUID(document["id"]),
            type=document["type"],
            version=document["version"],
            sent_at=datetime.fromisoformat(document["sent_at"]),
            items=tuple(document[route.items]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MalformedMessage(f"not an envelope of {route.type}: {error!r}") from error
    if (envelope.type, envelope.version) != (route.type, route.version):
        raise MalformedMessage(f"unknown type or version: {envelope.type!r} {envelope.version!r}")
    if not envelope.items or not all(isinstance(item, dict) for item in envelope.items):
        raise MalformedMessage(f"{route.items} must be a list of objects with at least one")
    return envelope


def decode_command(item: Mapping[str, Any]) -> TransferCommand:
    """Decode one command.

    Raises:
        MalformedMessage: a field is missing, of a wrong type, or outside its bounds.
    """
    try:
        command = TransferCommand(
            transfer_id=UUID(item["transfer_id"]),
            source_id=UUID(item["source_id"]),
            destination_id=UUID(item["destination_id"]),
            amount=item["amount"],
            currency=item["currency"],
            description=item["description"],
            request_hash=bytes.fromhex(item["request_hash"]).hex(),
            accepted_at=_moment(item["accepted_at"]),
            expires_at=_moment(item["expires_at"]),
            request_id=str(item["request_id"]),
            traceparent=item["traceparent"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MalformedMessage(f"not a transfer command: {error!r}") from error
    _check_money(command.amount, command.currency)
    if command.source_id == command.destination_id:
        raise MalformedMessage("source and destination are the same account")
    return command


def decode_event(item: Mapping[str, Any], *, id_class: type[UUID] = UUID) -> TransferEvent:
    """Decode one event; its ids are of this class.

    Raises:
        MalformedMessage: a field is missing, of a wrong type, or outside its bounds.
    """
    try:
        event = TransferEvent(
            event_id=id_class(item["event_id"]),
            type=item["type"],
            transfer_id=id_class(item["transfer_id"]),
            kind=item["kind"],
            amount=item["amount"],
            currency=item["currency"],
            from_wallet_id=id_class(item["from_wallet_id"]),
            to_wallet_id=id_class(item["to_wallet_id"]),
            sender_id=id_class(item["sender_id"]),
            recipient_id=id_class(item["recipient_id"]) if item["recipient_id"] else None,
            description=item["description"],
            failure_code=item["failure_code"],
            occurred_at=_moment(item["occurred_at"]),
            request_id=str(item["request_id"]),
            traceparent=item["traceparent"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MalformedMessage(f"not a transfer event: {error!r}") from error
    if event.type not in ("transfer.completed", "transfer.failed"):
        raise MalformedMessage(f"unknown event {event.type!r}")
    _check_money(event.amount, event.currency)
    return event


@lru_cache(maxsize=1024)
def format_time(moment: datetime) -> str:
    """A time as RFC 3339 in UTC with microseconds, the format of the API."""
    # Cached, because all transfers of a batch have the same times.
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _plain(value: Any) -> str:
    """The text of a value that orjson does not encode: a time, or the UUID class of the database driver."""
    return format_time(value) if isinstance(value, datetime) else str(value)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"time without zone: {text}")
    return moment


def _check_money(amount: Any, currency: Any) -> None:
    if type(amount) is not int or not 0 < amount <= AMOUNT_MAX:
        raise MalformedMessage(f"amount out of bounds: {amount!r}")
    if not isinstance(currency, str) or currency not in CURRENCIES:
        raise MalformedMessage(f"unknown currency: {currency!r}")
