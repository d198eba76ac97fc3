"""`make currencies`: write services/contracts/currencies.py from the list of ISO 4217 in the locked package `iso4217`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.etree.ElementTree import Element

import iso4217

from services.contracts import currencies

TABLE = Path(__file__).parents[2] / "services" / "contracts" / "currencies.py"

NOT_CIRCULATING = frozenset({"UYW", "XAD"})
"""Units of account that the list does not mark as funds: for Uruguayan pensions, and of the Arab Monetary Fund."""

Row = tuple[str, int, str]

_PAGE = '''\
"""The currencies of ISO 4217 as data: code, decimal digits of the minor unit, name. Written by `make currencies`, not by hand."""

PUBLISHED = "{published}"
"""The date of the list that this table was made from."""

LISTED = (
{listed})
"""Circulating currencies; funds, metals, units of account and test codes are left out."""

WITHDRAWN: tuple[tuple[str, int, str], ...] = ({withdrawn})
"""ISO 4217 has withdrawn these currencies. Existing wallets keep working; new ones cannot be opened."""
'''


def read_rows(xml: Element) -> list[Row]:
    """The circulating currencies of a published list, by code; a currency of several countries is listed once."""
    rows = {}
    for entry in xml.iterfind("CcyTbl/CcyNtry"):
        code, digits, name = (entry.findtext(tag, "").strip() for tag in ("Ccy", "CcyMnrUnts", "CcyNm"))
        is_fund = entry.find("CcyNm[@IsFund='true']") is not None
        # Metals, test codes and currencies without a minor unit say N.A.; a country without its own currency has no code.
        if digits.isdecimal() and not is_fund and code not in NOT_CIRCULATING:
            rows[code] = (code, int(digits), name)
    return sorted(rows.values())


def merge(listed: Iterable[Row], known: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """The new table: all listed currencies, and known codes that are no longer listed as withdrawn.

    Raises:
        ValueError: the exponent of a known code changes. Amounts are stored in minor units, so all of them would change.
    """
    new, old = {row[0]: row for row in listed}, {row[0]: row for row in known}
    changed = [code for code in sorted(new.keys() & old.keys()) if new[code][1] != old[code][1]]
    if changed:
        raise ValueError(f"the exponent of {', '.join(changed)} changes: amounts in it must be converted first")
    return sorted(new.values()), sorted(row for code, row in old.items() if code not in new)


def page() -> str:
    """The expected content of the module."""
    listed, withdrawn = merge(read_rows(iso4217.raw_xml), (*currencies.LISTED, *currencies.WITHDRAWN))
    inner = "".join(f"    {_literal(row)},\n" for row in withdrawn)
    return _PAGE.format(
        published=iso4217.__published__.isoformat(),
        listed="".join(f"    {_literal(row)},\n" for row in listed),
        withdrawn=f"\n{inner}" if inner else "",
    )


def _literal(row: Row) -> str:
    code, exponent, name = row
    return f'("{code}", {exponent}, "{name}")'


if __name__ == "__main__":
    TABLE.write_text(page(), encoding="utf-8")
