"""Statements as users see them."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from services.gateway.api.statement import COLUMNS, CSV_HEADER, owners, render_csv, with_names


def _line(**changes: Any) -> dict[str, Any]:
    return {
        "seq": 7,
        "transfer_id": "t-1",
        "amount": -1050,
        "balance_after": 8950,
        "counterparty": {"wallet_id": "w-2", "owner_id": "bob"},
        "description": "Lunch",
        "created_at": "2026-01-01T00:00:00.000000Z",
    } | changes


EXTERNAL = {"wallet_id": "w-0", "owner_id": None}


def test_owners_are_collected_once() -> None:
    """Each owner once; external accounts and missing counterparties have none."""
    lines = [_line(), _line(), _line(counterparty=EXTERNAL), _line(counterparty=None)]
    assert {"bob"} == owners(lines)


def test_owners_become_names() -> None:
    """The owner id is not exposed; an unknown owner has no name."""
    lines = with_names([_line(), _line(counterparty=EXTERNAL), _line(counterparty=None)], {"bob": "Bob Stone"})

    assert [
        {"wallet_id": "w-2", "name": "Bob Stone"},
        {"wallet_id": "w-0", "name": None},
        None,
    ] == [line["counterparty"] for line in lines]
    assert [None] == [line["counterparty"]["name"] for line in with_names([_line()], {})]


def test_csv_can_be_read_back() -> None:
    """Quotes, commas and line breaks survive; amounts stay integers of the minor unit."""
    lines = with_names(
        [_line(description='a "b", c\nd'), _line(counterparty=None, description=None)], {"bob": "Bob, B."}
    )

    first, second = csv.DictReader(io.StringIO(CSV_HEADER + render_csv(lines, "USD"), newline=""))

    assert list(COLUMNS) == list(first)
    assert ("7", "-1050", "USD", "8950", 'a "b", c\nd', "Bob, B.") == (
        first["seq"], first["amount"], first["currency"], first["balance_after"], first["description"],
        first["counterparty_name"],
    )  # fmt: skip
    assert ("", "", "") == (second["counterparty_wallet_id"], second["counterparty_name"], second["description"])


@pytest.mark.parametrize(
    "start", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "\ufeff=", "\u00a0-", "\uff1d", "\uff0b", "\uff0d", "\uff20"]
)
def test_formulas_are_escaped(start: str) -> None:
    """Text that a spreadsheet would run is quoted; numbers are unchanged."""
    (line,) = csv.DictReader(
        io.StringIO(CSV_HEADER + render_csv(with_names([_line(description=f"{start}1+1")], {}), "USD"), newline="")
    )
    assert (f"'{start}1+1", "-1050") == (line["description"], line["amount"])


def test_empty_statement_has_its_headings() -> None:
    """Without entries, the file is one line."""
    assert (",".join(COLUMNS) + "\r\n", "") == (CSV_HEADER, render_csv([], "USD"))
