"""Messages against golden samples: a changed byte needs a new version."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from services.contracts import messages
from services.contracts.messages import MalformedMessage, TransferCommand, TransferEvent
from services.contracts.topology import TRANSFERS_FINALIZED, TRANSFERS_REQUESTED, Route

GOLDEN = Path(__file__).parent / "golden"
AT = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)

COMMAND = TransferCommand(
    transfer_id=UUID("0196f0c0-0000-7000-8000-000000000001"),
    source_id=UUID("0196f0c0-0000-7000-8000-000000000002"),
    destination_id=UUID("0196f0c0-0000-7000-8000-000000000003"),
    amount=1050,
    currency="USD",
    description="Räksmörgås",
    request_hash="ab" * 32,
    accepted_at=AT,
    expires_at=AT,
    request_id="request-1",
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
EVENT = TransferEvent(
    event_id=UUID("0196f0c0-0000-7000-8000-000000000009"),
    type="transfer.failed",
    transfer_id=COMMAND.transfer_id,
    kind="transfer",
    amount=1050,
    currency="USD",
    from_wallet_id=COMMAND.source_id,
    to_wallet_id=COMMAND.destination_id,
    sender_id=UUID("0196f0c0-0000-7000-8000-000000000004"),
    recipient_id=None,
    description=None,
    failure_code="insufficient_funds",
    occurred_at=AT,
    request_id="request-1",
    traceparent=None,
)
SAMPLES = [(TRANSFERS_REQUESTED, COMMAND), (TRANSFERS_FINALIZED, EVENT)]


@pytest.mark.parametrize(("route", "item"), SAMPLES, ids=lambda value: getattr(value, "type", ""))
def test_messages_look_like_their_golden_sample(route: Route, item: TransferCommand | TransferEvent) -> None:
    """An encoded message equals the sample byte for byte, except for its id."""
    sample = (GOLDEN / f"{route.type}.v{route.version}.json").read_bytes().rstrip()

    encoded = messages.encode_envelope(route, [messages.encode_item(item)], sent_at=AT)

    made, kept = json.loads(encoded)["id"].encode(), json.loads(sample)["id"].encode()
    assert sample == encoded.replace(made, kept)


@pytest.mark.parametrize(("route", "item"), SAMPLES, ids=lambda value: getattr(value, "type", ""))
def test_golden_samples_are_understood(route: Route, item: TransferCommand | TransferEvent) -> None:
    """The sample decodes to the same command or event."""
    sample = (GOLDEN / f"{route.type}.v{route.version}.json").read_bytes()
    decode = messages.decode_command if route is TRANSFERS_REQUESTED else messages.decode_event

    envelope = messages.decode_envelope(route, sample)

    assert [item] == [decode(raw) for raw in envelope.items]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'{"id":"x"}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_envelope_is_malformed(body: bytes) -> None:
    """Anything that cannot be read raises MalformedMessage, nothing else."""
    with pytest.raises(MalformedMessage):
        messages.decode_envelope(TRANSFERS_REQUESTED, body)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(TransferCommand)])
def test_a_command_without_a_field_is_malformed(field: str) -> None:
    """Every field of a command is needed."""
    raw = json.loads(messages.encode_item(COMMAND))
    del raw[field]

    with pytest.raises(MalformedMessage):
        messages.decode_command(raw)


@pytest.mark.parametrize("amount", [0, -1, 1.5, "1", True, None, 10**15 + 1, [1]])
def test_an_impossible_amount_is_malformed(amount: object) -> None:
    """Amounts are integers of the minor unit within their bounds, and nothing else."""
    raw = json.loads(messages.encode_item(COMMAND)) | {"amount": amount}

    with pytest.raises(MalformedMessage):
        messages.decode_command(raw)


def test_a_transfer_to_itself_is_malformed() -> None:
    """Source and destination differ."""
    raw = json.loads(messages.encode_item(COMMAND)) | {"destination_id": str(COMMAND.source_id)}

    with pytest.raises(MalformedMessage):
        messages.decode_command(raw)
