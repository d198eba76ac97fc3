"""A user's account: sessions, second factor, signing keys, and the account as operators see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from payflow import document as read


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """A session. `used_at` is the time of the last refresh, `current` marks the session of this client."""

    id: str
    created_at: datetime
    used_at: datetime
    user_agent: str | None
    current: bool

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        return cls(
            id=document["id"],
            created_at=read.moment(document["created_at"]),
            used_at=read.moment(document["used_at"]),
            user_agent=document.get("user_agent"),
            current=document["current"] is True,
        )


@dataclass(frozen=True, slots=True)
class TotpSetup:
    """A second factor to enter into an authenticator: the secret in base32, and as the URI of a QR code."""

    secret: str = field(repr=False)
    uri: str = field(repr=False)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        return cls(str(document["secret"]), str(document["uri"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user as operators see them. `document` is the gateway's JSON."""

    id: str
    email: str
    name: str
    role: str
    totp: bool
    created_at: datetime
    disabled_at: datetime | None
    disabled_reason: str | None
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        disabled = document["disabled"] or {}
        return cls(
            id=document["id"],
            email=document["email"],
            name=document["name"],
            role=document["role"],
            totp=document["totp"] is True,
            created_at=read.moment(document["created_at"]),
            disabled_at=read.moment_or_none(disabled.get("at")),
            disabled_reason=disabled.get("reason"),
            document=document,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A key that signs access tokens. `state` is `waiting`, `signing`, `verifying` or `retired`."""

    kid: str
    state: str
    signs_from: datetime
    retires_at: datetime | None
    retired_at: datetime | None

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        return cls(
            kid=document["kid"],
            state=document["state"],
            signs_from=read.moment(document["signs_from"]),
            retires_at=read.moment_or_none(document.get("retires_at")),
            retired_at=read.moment_or_none(document.get("retired_at")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKeys:
    """All signing keys ever, oldest first. `rotated` is whether a rotation created a key. `document` is the JSON."""

    keys: tuple[SigningKey, ...]
    rotated: bool
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        keys = tuple(SigningKey.read(key) for key in document["items"])
        return cls(keys=keys, rotated=document.get("rotated") is True, document=document)


def read_recovery_codes(document: Mapping[str, Any]) -> list[str]:
    """The recovery codes, from the gateway's JSON."""
    return [str(code) for code in document["recovery_codes"]]
