"""Currencies, and amounts formatted for users. Amounts are integers in the currency's minor unit, everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from payflow import document as read

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

    def format(self, amount: int) -> str:
        """`1050` as `10.50 USD`; digits are grouped by thousands."""
        sign = "-" if amount < 0 else ""
        major, minor = divmod(abs(amount), 10**self.exponent)
        fraction = f".{minor:0{self.exponent}d}" if self.exponent else ""
        return f"{sign}{major:,}{fraction} {self.code}"
