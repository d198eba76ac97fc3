"""Formatted amounts, and strict reading of documents."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from payflow import document as read
from payflow.errors import UnexpectedResponse
from payflow.money import Currency
from payflow.prose import phrase, printable


@pytest.mark.parametrize(
    ("code", "exponent", "amount", "text"),
    [
        ("USD", 2, 1050, "10.50 USD"),
        ("USD", 2, -1, "-0.01 USD"),
        ("USD", 2, 10**15, "10,000,000,000,000.00 USD"),
        ("JPY", 0, 1050, "1,050 JPY"),
        ("KWD", 3, 1050, "1.050 KWD"),
    ],
)
def test_format(code: str, exponent: int, amount: int, text: str) -> None:
    """The digits are those of the currency; nothing is rounded."""
    assert Currency(code, exponent, code).format(amount) == text


@pytest.mark.parametrize("value", [1.0, "1", True, None, [1]])
def test_integer_rejects(value: Any) -> None:
    """Only an integer is an amount: no float, boolean or text."""
    with pytest.raises(TypeError):
        read.integer(value)


def test_moment() -> None:
    """A time has its microseconds and its zone; one without zone raises."""
    assert read.moment("2026-01-02T03:04:05.000006Z") == datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    with pytest.raises(ValueError, match="without zone"):
        read.moment("2026-01-02T03:04:05")


@pytest.mark.parametrize("document", [None, [], "text", {}, {"amount": 1.5}])
def test_convert(document: Any) -> None:
    """Any fault of a document raises UnexpectedResponse."""
    with pytest.raises(UnexpectedResponse):
        read.convert(lambda found: read.integer(found["amount"]), document)


def test_printable() -> None:
    """Text becomes one line without control characters."""
    assert printable("a\nb\t c\x1b[31m\x07 \u202eé") == "a b c [31m   é"


@pytest.mark.parametrize(
    ("detail", "text"),
    [
        (None, ""),
        ("as it is", "as it is"),
        (3, "3"),
        ({"number": 2, "worker": "w-1", "note": None, "redelivered": True}, "number 2, worker w-1, redelivered true"),
    ],
)
def test_phrase(detail: Any, text: str) -> None:
    """A detail of any shape becomes a short text."""
    assert phrase(detail) == text
