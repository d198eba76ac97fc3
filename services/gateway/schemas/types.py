"""Types that several schemas share: amounts, ids, passwords, pages."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from services.chassis.body import read_id
from services.chassis.period import PeriodParameters
from services.contracts import limits
from services.contracts.money import AMOUNT_MAX, BALANCE_MAX, check_currency

METADATA_KEYS_MAX = 50
METADATA_KEY_LENGTH_MAX = 40
METADATA_TEXT_LENGTH_MAX = 500
CURSOR_LENGTH_MAX = 512
SAFE_INTEGER_MAX = 2**53 - 1
"""Clients that read numbers as doubles lose precision beyond it."""


_CANONICAL_ID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def canonical_id(text: str) -> str:
    """The id in its canonical form.

    Raises:
        ValueError
    """
    # Most ids arrive in their canonical form.
    return text if _CANONICAL_ID.fullmatch(text) else str(read_id(text))


def _whole_number(text: Any) -> Any:
    if not isinstance(text, str) or not (text.isascii() and text.isdigit()) or len(text) > len(str(limits.PAGE_MAX)):
        raise ValueError(f"must be a whole number from 1 to {limits.PAGE_MAX}")
    return int(text)


def _composed(text: Any) -> Any:
    # Keyboards encode accents differently; the length counts characters as displayed.
    return unicodedata.normalize("NFC", text) if isinstance(text, str) else text


def _metadata_value(value: Any) -> Any:
    if isinstance(value, str) and len(value) <= METADATA_TEXT_LENGTH_MAX:
        return value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= SAFE_INTEGER_MAX:
        return value
    raise ValueError(
        f"must be a string of at most {METADATA_TEXT_LENGTH_MAX} characters, a whole number, true or false"
    )


def _metadata_keys(metadata: dict[str, Any]) -> dict[str, Any]:
    if any(not 0 < len(key) <= METADATA_KEY_LENGTH_MAX for key in metadata):
        raise ValueError(f"must have keys of 1 to {METADATA_KEY_LENGTH_MAX} characters")
    return metadata


Amount = Annotated[int, Field(strict=True, gt=0, le=AMOUNT_MAX, description="In the currency's minor unit.")]
CurrencyCode = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$"), AfterValidator(check_currency)]
Id = Annotated[str, AfterValidator(canonical_id), WithJsonSchema({"type": "string", "format": "uuid"})]
Email = Annotated[
    str,
    StringConstraints(min_length=3, max_length=limits.EMAIL_LENGTH_MAX, pattern=r"^[^@\s]+@[^@\s]+$"),
    Field(json_schema_extra={"format": "email"}),
]
Limit = Annotated[int, Field(ge=1, le=limits.PAGE_MAX), BeforeValidator(_whole_number)]
Password = Annotated[
    str,
    StringConstraints(min_length=limits.PASSWORD_LENGTH_MIN, max_length=limits.PASSWORD_LENGTH_MAX),
    BeforeValidator(_composed),
]
KnownPassword = Annotated[
    str, StringConstraints(min_length=1, max_length=limits.PASSWORD_LENGTH_MAX), BeforeValidator(_composed)
]
TotpCode = Annotated[
    str,
    StringConstraints(min_length=1, max_length=limits.TOTP_CODE_LENGTH_MAX),
    Field(description="The six-digit code of the authenticator, or a recovery code."),
]
MetadataValue = Annotated[
    Any,
    AfterValidator(_metadata_value),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "maxLength": METADATA_TEXT_LENGTH_MAX},
                {"type": "integer", "minimum": -SAFE_INTEGER_MAX, "maximum": SAFE_INTEGER_MAX},
                {"type": "boolean"},
                {"type": "null"},
            ]
        }
    ),
]
Metadata = Annotated[dict[str, MetadataValue], Field(max_length=METADATA_KEYS_MAX), AfterValidator(_metadata_keys)]
SignedAmount = Annotated[int, Field(ge=-BALANCE_MAX, le=BALANCE_MAX, description="In the currency's minor unit.")]
Total = Annotated[
    int,
    Field(
        description="In the currency's minor unit. May exceed 2^53 - 1: read it as a 64-bit integer.",
        json_schema_extra={"format": "int64"},
    ),
]


class Request(BaseModel):
    """Base of all request models."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Response(BaseModel):
    """Base of all response models."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Empty(Request):
    """An empty object; the body may be omitted."""


class PageQuery(Request):
    """A page of a list."""

    limit: Limit | None = Field(None, description=f"Maximum number of items, {limits.PAGE_DEFAULT} by default.")
    cursor: Annotated[str, StringConstraints(min_length=1, max_length=CURSOR_LENGTH_MAX)] | None = Field(
        None, description="The `next_cursor` of the previous page."
    )

    def parameters(self) -> dict[str, str]:
        """The parameters for the upstream service: the same names, times in UTC."""
        given = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {name: str(value) for name, value in ({"limit": limits.PAGE_DEFAULT} | given).items()}


class PeriodQuery(PageQuery, PeriodParameters):
    """A page of a list within a period."""
