"""API keys."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

from services.chassis.period import Moment
from services.gateway.schemas.types import NAME_LENGTH_MAX, KnownPassword, Reply, Request, TotpCode


def _distinct(values: list[Any]) -> list[Any]:
    if len(set(values)) != len(values):
        raise ValueError("must not name one twice")
    return values


ScopeName = Literal["read", "transfer", "operate"]
Scopes = Annotated[
    list[ScopeName],
    Field(min_length=1, max_length=3, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_distinct),
]


class NewApiKey(Request):
    """A key for a server, and the password once more. `totp` is needed when a second factor is on."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=NAME_LENGTH_MAX)] = Field(
        description="What it is for; shown in lists."
    )
    scopes: Scopes
    password: KnownPassword
    totp: TotpCode | None = None
    expires_at: Moment | None = Field(None, description="When it ends by itself; never, unless it is given.")


class ApiKey(Reply):
    """A key as lists show it. `prefix` is the part of it that may be shown."""

    id: UUID
    name: str
    scopes: list[ScopeName]
    prefix: str
    created_at: AwareDatetime
    last_used_at: AwareDatetime | None
    expires_at: AwareDatetime | None
    revoked_at: AwareDatetime | None


class ApiKeyList(Reply):
    """Keys that were not revoked, newest first."""

    items: list[ApiKey]
    next_cursor: None


class CreatedApiKey(Reply):
    """A new key. `key` is told here and never again."""

    id: UUID
    name: str
    scopes: list[ScopeName]
    key: str
    prefix: str
    created_at: AwareDatetime
    expires_at: AwareDatetime | None
