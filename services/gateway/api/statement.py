"""Pure: a statement as people see it: the other side by name, in JSON or as a file for a spreadsheet."""

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
"""Also as wide letters: what Japanese and Chinese keyboards send, some spreadsheets read as the narrow ones."""

_LINE_STARTS = ("\t", "\r", "\n")


def owners(lines: Iterable[Mapping[str, Any]]) -> set[str]:
    """Whose names are needed."""
    found = (line["counterparty"]["owner_id"] for line in lines if line["counterparty"])
    return {owner for owner in found if owner}


def with_names(lines: Iterable[Mapping[str, Any]], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """The lines with names in place of the owners' ids."""
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
                _harmless(other["name"]),
                _harmless(line["description"]),
            )
        )
    return file.getvalue()


def _named(other: Mapping[str, Any] | None, names: Mapping[str, str]) -> dict[str, Any] | None:
    if other is None:
        return None
    return {"wallet_id": other["wallet_id"], "name": names.get(other["owner_id"] or "")}


def _harmless(text: str | None) -> str | None:
    # Somebody else wrote this text; a spreadsheet would run it as a formula.
    # Some drop what shows nothing before it first.
    if text and (text.startswith(_LINE_STARTS) or text.lstrip(" \ufeff\u200b\u00a0").startswith(_FORMULA_STARTS)):
        return f"'{text}"
    return text
