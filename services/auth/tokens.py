"""Tokens: the signed access token that anybody can verify, the random refresh token that only its hash is kept of."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from uuid import UUID

import jwt

from services.auth.keyring import SigningKey
from services.auth.rules.user import User
from services.contracts.identifiers import new_id

ACCESS_SECONDS = 600
"""How long an access token lives."""

REFRESH_SECONDS = 30 * 24 * 3600.0
"""How long a refresh token waits to be used; each use starts it anew."""

SPENT_REMEMBERED_MAX = 10_000
"""So many spent tokens of a session are recognised: more than one that is refreshed with every access token has in its life."""

REFRESH_BYTES = 32
REFRESH_LENGTH_MAX = 8192
"""As long as a cookie can be: what is longer than ours is an unknown token like any other, not a fault of the request."""

ISSUER = "payflow"
AUDIENCE = "payflow-api"
TYPE = "at+jwt"


@dataclass(frozen=True, slots=True)
class Pair:
    """What a login or a refresh hands out."""

    access_token: str
    refresh_token: str


def sign_access(key: SigningKey, user: User, session_id: UUID, *, now: int) -> str:
    """An access token of this user in this session, good for `ACCESS_SECONDS` from `now` on, in Unix seconds (RFC 9068).

    `now` is the database's, by which sessions end too: one dated by a process whose clock is ahead would begin to live when
    nobody remembers any more that its session was ended.
    """
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(user.id),
        "sid": str(session_id),
        "role": str(user.role),
        "iat": now,
        "nbf": now,
        "exp": now + ACCESS_SECONDS,
        "jti": str(new_id()),
    }
    return jwt.encode(claims, key.private_key, algorithm="EdDSA", headers={"typ": TYPE, "kid": key.kid})


def new_refresh() -> str:
    """A fresh refresh token."""
    return secrets.token_urlsafe(REFRESH_BYTES)


def hash_refresh(token: str) -> bytes:
    """What is stored of a refresh token. It is random and long: a plain hash cannot be searched backwards."""
    return hashlib.sha256(token.encode()).digest()
