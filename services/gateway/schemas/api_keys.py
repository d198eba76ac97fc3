"""API keys."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

from services.chassis.period import Moment
from services.contracts import limits
from services.gateway.schemas.types import KnownPassword, Request, Response, TotpCode


def _distinct(values: list[Any]) -> list[Any]:
    if len(set(values)) != len(values):
        raise ValueError("must not contain duplicates")
    return values


ScopeName = Literal["read", "transfer", "operate"]
Scopes = Annotated[
    list[ScopeName],
    Field(min_length=1, max_length=3, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_distinct),
]


class NewApiKey(Request):
    """API key creation; requires the password. `totp` is required if a second factor is enabled."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=limits.NAME_LENGTH_MAX)] = Field(
        description="The purpose of the key, shown in lists."
    )
    scopes: Scopes
    password: KnownPassword
    totp: TotpCode | None = None
    expires_at: Moment | None = Field(None, description="When the key expires; never by default.")


class ApiKey(Response):
    """An API key as shown in lists. `prefix` identifies it and is not secret."""

    id: UUID
    name: str
    scopes: list[ScopeName]
    prefix: str
    created_at: AwareDatetime
    last_used_at: AwareDatetime | None
    expires_at: AwareDatetime | None
    revoked_at: AwareDatetime | None


class ApiKeyList(Response):
    """API keys that are not revoked, newest first."""

    items: list[ApiKey]
    next_cursor: None


class CreatedApiKey(Response):
    """A new API key. `key` is returned only here."""

    id: UUID
    name: str
    scopes: list[ScopeName]
    key: str
    prefix: str
    created_at: AwareDatetime
    expires_at: AwareDatetime | None
