"""Pure: a statement as users see it: counterparties by name, in JSON or as a CSV file for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

COLUMNS = (
    "seq",
    "created_at",
    "transfer_id",
    "amount",
    "currency",
    "balance_after",
    "counterparty_wallet_id",
    "counterparty_name",
    "description",
)

_END = "\r\n"

CSV_HEADER = ",".join(COLUMNS) + _END
"""The first line of a file."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Also the full-width characters of Japanese and Chinese keyboards: some spreadsheets read them as the ASCII ones."""

_LINE_STARTS = ("\t", "\r", "\n")


def owners(lines: Iterable[Mapping[str, Any]]) -> set[str]:
    """The owners whose names are needed."""
    found = (line["counterparty"]["owner_id"] for line in lines if line["counterparty"])
    return {owner for owner in found if owner}


def with_names(lines: Iterable[Mapping[str, Any]], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """The lines with names instead of owner ids."""
    return [{**line, "counterparty": _named(line["counterparty"], names)} for line in lines]


def render_csv(lines: Iterable[Mapping[str, Any]], currency: str) -> str:
    """The lines (with names) as CSV (RFC 4180) below `CSV_HEADER`, amounts in minor units."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator=_END)
    for line in lines:
        other = line["counterparty"] or {"wallet_id": None, "name": None}
        writer.writerow(
            (
                line["seq"],
                line["created_at"],
                line["transfer_id"],
                line["amount"],
                currency,
                line["balance_after"],
                other["wallet_id"],
                _escape_formula(other["name"]),
                _escape_formula(line["description"]),
            )
        )
    return file.getvalue()


def _named(other: Mapping[str, Any] | None, names: Mapping[str, str]) -> dict[str, Any] | None:
    if other is None:
        return None
    return {"wallet_id": other["wallet_id"], "name": names.get(other["owner_id"] or "")}


def _escape_formula(text: str | None) -> str | None:
    # Another user wrote this text; a spreadsheet would run it as a formula.
    # Some spreadsheets strip invisible characters before it first.
    if text and (text.startswith(_LINE_STARTS) or text.lstrip(" \ufeff\u200b\u00a0").startswith(_FORMULA_STARTS)):
        return f"'{text}"
    return text
