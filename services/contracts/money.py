"""Money: an integer in the currency's minor unit and an ISO 4217 code. Never a float, from socket to disk."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from services.contracts import currencies

AMOUNT_MAX = 10**15
"""The largest amount of one transfer, in minor units."""

BALANCE_MAX = 2**53 - 1
"""The largest balance of a user's account, in minor units: the largest integer that every JSON parser reads exactly."""

EXTERNAL_BALANCE_MAX = 9 * 10**18
"""The largest balance of an external account, positive or negative, in minor units: one transfer below 2^63."""

DEFAULT_CURRENCY = "USD"
"""Every user has a wallet in it."""


@dataclass(frozen=True, slots=True)
class Currency:
    """An ISO 4217 currency; `exponent` is the number of decimal digits of its minor unit."""

    code: str
    exponent: int
    name: str


def check_currency(code: str) -> str:
    """Return the code.

    Raises:
        ValueError: it is not one of `CURRENCIES`.
    """
    if code not in CURRENCIES:
        raise ValueError("is not a currency code")
    return code


def format_amount(amount: int, currency: str) -> str:
    """Format `1050, "USD"` as `10.50 USD`. Digits are grouped by thousands."""
    exponent = CURRENCIES[currency].exponent
    sign = "-" if amount < 0 else ""
    whole, minor = divmod(abs(amount), 10**exponent)
    fraction = f".{minor:0{exponent}d}" if exponent else ""
    return f"{sign}{whole:,}{fraction} {currency}"


TEST_CURRENCY = "XTS"
"""The code that ISO 4217 reserves for tests: no money. The canary's accounts hold it; it is never added to another currency."""

CURRENCIES = MappingProxyType(
    {
        row[0]: Currency(*row)
        for row in sorted((*currencies.LISTED, *currencies.WITHDRAWN, (TEST_CURRENCY, 0, "Test currency")))
    }
)
"""All currencies of wallets, by code. Those that ISO 4217 has withdrawn remain, for existing wallets."""

WITHDRAWN = frozenset(row[0] for row in currencies.WITHDRAWN)
"""The codes of currencies in which no new wallet can be opened."""
