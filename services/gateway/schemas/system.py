"""Currencies, keys, health and problems."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import AwareDatetime, Field

from services.gateway.schemas.types import Reply


class SigningKeyState(Reply):
    """A key of access tokens: `waiting` to sign, `signing`, `verifying` what it signed before, or `retired`."""

    kid: str
    state: Literal["waiting", "signing", "verifying", "retired"]
    created_at: AwareDatetime
    signs_from: AwareDatetime
    retires_at: AwareDatetime | None = Field(description="When it is let go of, once another key takes over.")
    retired_at: AwareDatetime | None


class SigningKeyList(Reply):
    """Every key there ever was, oldest first."""

    items: list[SigningKeyState]
    next_cursor: str | None


class Rotation(SigningKeyList):
    """The keys after a rotation; `rotated` is false when a key was waiting already and no other was made."""

    rotated: bool


class Currency(Reply):
    """A currency; `exponent` is how many decimal digits its minor unit stands for."""

    code: str
    exponent: int
    name: str
    withdrawn: bool = Field(
        description="ISO 4217 has withdrawn this currency. Existing wallets keep working; new ones cannot be opened."
    )


class CurrencyList(Reply):
    """Every currency, by code."""

    items: list[Currency]
    published: date = Field(description="The date of the list of ISO 4217 that this one was made from.")


class Key(Reply):
    """A public key (RFC 8037)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    kid: str
    use: Literal["sig"]
    alg: Literal["EdDSA"]


class KeySet(Reply):
    """The keys that sign access tokens (RFC 7517)."""

    keys: list[Key]


class Liveness(Reply):
    """The process turns."""

    status: Literal["ok"]


class Readiness(Reply):
    """What this process needs, by whether it answers."""

    ok: list[str]
    failing: list[str]


class Fault(Reply):
    """A faulty field of the request: its dotted path, and what is wrong with it."""

    field: str
    message: str


class Problem(Reply):
    """Why not (RFC 9457). `code` is stable; the catalogue tells what it means and whether a retry helps."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[Fault]
    request_id: str


class MomentProblem(Problem):
    """A problem with the moment up to which figures are final."""

    final_before: AwareDatetime = Field(description="The figures of earlier moments are final.")
