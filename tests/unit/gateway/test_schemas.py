"""Request models."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from services.contracts.identifiers import new_id
from services.contracts.money import AMOUNT_MAX, CURRENCIES
from services.gateway.schemas.auth import Login, Register
from services.gateway.schemas.transfers import NewTransfer, TransferQuery

TRANSFER = TypeAdapter(NewTransfer)
VALID: dict[str, Any] = {"currency": "USD", "amount": 1, "to": {"email": "bob@example.com"}}


@pytest.mark.parametrize("amount", [1, 1050, AMOUNT_MAX])
def test_valid_amounts(amount: int) -> None:
    """From one minor unit to the maximum."""
    assert amount == TRANSFER.validate_python(VALID | {"amount": amount}).amount


@pytest.mark.parametrize(
    "amount", [0, -1, AMOUNT_MAX + 1, 1.0, 1.5, "1", True, None, [1], {}, float("nan"), float("inf")]
)
def test_invalid_amounts(amount: Any) -> None:
    """Guarantee 52: floats, strings, booleans and values out of bounds are rejected."""
    with pytest.raises(ValidationError):
        TRANSFER.validate_python(VALID | {"amount": amount})


def test_every_currency_can_be_sent() -> None:
    """All of ISO 4217, in upper case."""
    for code in CURRENCIES:
        assert code == TRANSFER.validate_python(VALID | {"currency": code}).currency
        with pytest.raises(ValidationError):
            TRANSFER.validate_python(VALID | {"currency": code.lower()})


def test_recipient_is_an_address_or_a_wallet() -> None:
    """Exactly one is required; null counts as absent; ids are normalized."""
    wallet_id = str(new_id())
    by_wallet = TRANSFER.validate_python(VALID | {"to": {"wallet_id": wallet_id.upper(), "email": None}})

    assert {"wallet_id": wallet_id} == by_wallet.to.as_dict()
    assert {"email": "bob@example.com"} == TRANSFER.validate_python(VALID).to.as_dict()
    for to in ({}, {"email": None}, {"email": "a@b.example", "wallet_id": wallet_id}, {"wallet_id": wallet_id[:-1]}):
        with pytest.raises(ValidationError):
            TRANSFER.validate_python(VALID | {"to": to})


def test_password_length_counts_composed_characters() -> None:
    """The same password has the same length, however a keyboard encodes accents (RFC 8265)."""
    person = {"email": "a@b.example", "name": "A"}
    for accented, length in (("e\u0301" * 8, 8), ("e\u0301" * 200, 200)):
        assert "é" * length == Register.model_validate(person | {"password": accented}).password
    assert "é" * 200 == Login.model_validate({"email": "a@b.example", "password": "e\u0301" * 200}).password
    for accented in ("e\u0301" * 7, "e\u0301" * 201):
        with pytest.raises(ValidationError):
            Register.model_validate(person | {"password": accented})


def test_query_is_normalized_for_upstream() -> None:
    """Times are converted to UTC, the limit is always included, absent parameters are left out."""
    assert {"limit": "50"} == TransferQuery.model_validate({}).parameters()
    query = TransferQuery.model_validate({"from": "2026-01-01T00:00:00.000001+05:30", "limit": "1", "status": "FAILED"})
    assert {"from": "2025-12-31T18:30:00.000001Z", "limit": "1", "status": "FAILED"} == query.parameters()
