"""Tokens: signed access tokens, and random refresh tokens, of which only a hash is stored."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from uuid import UUID

import jwt

from services.auth.keyring import SigningKey
from services.auth.rules.user import User
from services.contracts import limits
from services.contracts.identifiers import new_id

SPENT_REMEMBERED_MAX = 10_000
"""Spent tokens kept for each session: more than a session uses that is refreshed with every access token."""

REFRESH_BYTES = 32
REFRESH_LENGTH_MAX = 8192
"""As long as a cookie can be: a token longer than ours is unknown, but the request is valid."""

ISSUER = "payflow"
AUDIENCE = "payflow-api"
TYPE = "at+jwt"


@dataclass(frozen=True, slots=True)
class Pair:
    """The tokens that a login or a refresh returns."""

    access_token: str
    refresh_token: str


def sign_access(key: SigningKey, user: User, session_id: UUID, *, now: int) -> str:
    """Sign an access token (RFC 9068), valid for `limits.ACCESS_TOKEN_SECONDS` from `now` on, in Unix seconds.

    `now` is the time of the database, which also dates revocations: a token dated by a process whose clock is ahead could
    become valid after the revocation of its session was forgotten.
    """
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(user.id),
        "sid": str(session_id),
        "role": str(user.role),
        "iat": now,
        "nbf": now,
        "exp": now + limits.ACCESS_TOKEN_SECONDS,
        "jti": str(new_id()),
    }
    return jwt.encode(claims, key.private_key, algorithm="EdDSA", headers={"typ": TYPE, "kid": key.kid})


def new_refresh() -> str:
    """Create a refresh token."""
    return secrets.token_urlsafe(REFRESH_BYTES)


def hash_refresh(token: str) -> bytes:
    """The stored form of a refresh token. A token is long and random, so a plain hash is sufficient."""
    return hashlib.sha256(token.encode()).digest()
