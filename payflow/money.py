"""Currencies, and amounts formatted for users. Amounts are integers in the currency's minor unit, everywhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from payflow import document as read
from payflow.errors import InvalidArgument

DEFAULT_CURRENCY = "USD"
"""Every user has a wallet in this currency."""


@dataclass(frozen=True, slots=True)
class Currency:
    """An ISO 4217 currency; `exponent` is the number of decimal digits of its minor unit.

    `withdrawn`: ISO 4217 has withdrawn this currency. Existing wallets keep working; new ones cannot be opened.
    """

    code: str
    exponent: int
    name: str
    withdrawn: bool = False

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        return cls(
            code=document["code"],
            exponent=read.integer(document["exponent"]),
            name=document["name"],
            withdrawn=document.get("withdrawn") is True,
        )

    def parse(self, text: str) -> int:
        """`10.50` as `1050`, exactly; a comma or a point, no sign, no exponent, no grouping.

        Raises:
            InvalidArgument: it is not an amount above zero with at most the digits of this currency.
        """
        match = re.fullmatch(r"([0-9]{1,16})(?:[.,]([0-9]+))?", text)
        digits = match[2] or "" if match else ""
        if match is None or len(digits) > self.exponent:
            example = f"12.{'50'.ljust(self.exponent, '0')[: self.exponent]}" if self.exponent else "12"
            raise InvalidArgument(f"{text!r} is not an amount in {self.code}; one looks like {example}")
        amount = int(match[1] + digits.ljust(self.exponent, "0"))
        if amount == 0:
            raise InvalidArgument("the amount must be greater than 0")
        return amount

    def format(self, amount: int) -> str:
        """`1050` as `10.50 USD`; digits are grouped by thousands."""
        sign = "-" if amount < 0 else ""
        major, minor = divmod(abs(amount), 10**self.exponent)
        fraction = f".{minor:0{self.exponent}d}" if self.exponent else ""
        return f"{sign}{major:,}{fraction} {self.code}"
