"""Money: an integer in the currency's minor unit and an ISO 4217 code. Never a float, from socket to disk."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from services.contracts import currencies

AMOUNT_MAX = 10**15
"""The largest amount of one transfer, in minor units."""

BALANCE_MAX = 2**53 - 1
"""The largest balance of a user's account, in minor units: the largest integer that every reader of JSON reads exactly."""

EXTERNAL_BALANCE_MAX = 9 * 10**18
"""How far an external account may go in either direction, in minor units: below 2^63, with room for one more transfer."""

DEFAULT_CURRENCY = "USD"
"""Every user has a wallet in it without asking."""


@dataclass(frozen=True, slots=True)
class Currency:
    """An ISO 4217 currency; `exponent` is how many decimal digits its minor unit stands for."""

    code: str
    exponent: int
    name: str


def check_currency(code: str) -> str:
    """The code itself.

    Raises:
        ValueError: it is not one of `CURRENCIES`.
    """
    if code not in CURRENCIES:
        raise ValueError("is not a currency code")
    return code


def format_amount(amount: int, currency: str) -> str:
    """`1050, "USD"` as `10.50 USD`, for people. Digits are grouped by thousands."""
    exponent = CURRENCIES[currency].exponent
    sign = "-" if amount < 0 else ""
    whole, minor = divmod(abs(amount), 10**exponent)
    fraction = f".{minor:0{exponent}d}" if exponent else ""
    return f"{sign}{whole:,}{fraction} {currency}"


CURRENCIES = MappingProxyType({row[0]: Currency(*row) for row in sorted((*currencies.LISTED, *currencies.WITHDRAWN))})
"""Every currency that a wallet may be in, by code. One that ISO 4217 has withdrawn stays, for existing wallets."""

WITHDRAWN = frozenset(row[0] for row in currencies.WITHDRAWN)
"""The codes of those in which new wallets cannot be opened."""
