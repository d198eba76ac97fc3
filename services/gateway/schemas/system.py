"""Currencies, keys, health and problems."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import AwareDatetime, Field

from services.gateway.schemas.types import Response


class SigningKeyState(Response):
    """A key for access tokens: `waiting` to sign, `signing`, `verifying` tokens signed before, or `retired`."""

    kid: str
    state: Literal["waiting", "signing", "verifying", "retired"]
    created_at: AwareDatetime
    signs_from: AwareDatetime
    retires_at: AwareDatetime | None = Field(description="When the key retires, after another key has taken over.")
    retired_at: AwareDatetime | None


class SigningKeyList(Response):
    """All signing keys, oldest first, including retired ones."""

    items: list[SigningKeyState]
    next_cursor: str | None


class Rotation(SigningKeyList):
    """The keys after a rotation; `rotated` is false if a key was already waiting and none was created."""

    rotated: bool


class Currency(Response):
    """A currency; `exponent` is the number of decimal digits of its minor unit."""

    code: str
    exponent: int
    name: str
    withdrawn: bool = Field(
        description="ISO 4217 has withdrawn this currency. Existing wallets keep working; new ones cannot be opened."
    )
    test: bool = Field(description="The code that ISO 4217 reserves for tests: no money. Front ends do not offer it.")


class CurrencyList(Response):
    """All currencies, by code."""

    items: list[Currency]
    published: date = Field(description="The date of the ISO 4217 list that this list is based on.")


class Key(Response):
    """A public key (RFC 8037)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    kid: str
    use: Literal["sig"]
    alg: Literal["EdDSA"]


class KeySet(Response):
    """The public keys that verify access tokens (RFC 7517)."""

    keys: list[Key]


class Liveness(Response):
    """The process is alive."""

    status: Literal["ok"]


class Readiness(Response):
    """The dependencies of this process, by whether they respond."""

    ok: list[str]
    failing: list[str]


class FieldError(Response):
    """An invalid field of the request: its dotted path, and the error."""

    field: str
    message: str


class Problem(Response):
    """A problem (RFC 9457). `code` is stable; the catalogue describes it and says whether a retry helps."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldError]
    request_id: str


class MomentProblem(Problem):
    """A problem with the instant up to which figures are final."""

    final_before: AwareDatetime = Field(description="Figures before this instant are final.")
