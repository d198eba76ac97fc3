"""API keys: how a user's servers authenticate, without a session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from payflow import document as read

SCOPES = ("read", "transfer", "operate")
"""The scopes of a key; none includes another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key without its secret; `prefix` is the part that may be shown. `document` is the gateway's JSON."""

    id: str
    name: str
    scopes: tuple[str, ...]
    prefix: str
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        return cls(
            id=document["id"],
            name=document["name"],
            scopes=tuple(document["scopes"]),
            prefix=document["prefix"],
            created_at=read.moment(document["created_at"]),
            last_used_at=read.moment_or_none(document.get("last_used_at")),
            expires_at=read.moment_or_none(document.get("expires_at")),
            document=document,
        )


@dataclass(frozen=True, slots=True)
class CreatedApiKey:
    """A new key. `key` is the secret, which cannot be read again."""

    key: str = field(repr=False)
    listed: ApiKey

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        return cls(str(document["key"]), ApiKey.read(document))
