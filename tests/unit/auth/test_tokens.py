"""Access and refresh tokens."""

from __future__ import annotations

import base64
import time

import jwt

from services.auth import tokens
from services.auth.keyring import new_signing_key
from services.auth.rules.user import Role, User
from services.contracts.identifiers import new_id

KEY = new_signing_key()
USER = User(id=new_id(), email="alice@example.com", name="Alice", role=Role.OPERATOR)


def test_claims_of_an_access_token() -> None:
    """An access token has exactly the agreed claims, lasts ten minutes, and has no personal data."""
    session_id = new_id()
    now = int(time.time())

    token = tokens.sign_access(KEY, USER, session_id, now=now)
    claims = jwt.decode(
        token, KEY.private_key.public_key(), algorithms=["EdDSA"], audience="payflow-api", issuer="payflow"
    )

    assert {"alg": "EdDSA", "typ": "at+jwt", "kid": KEY.kid} == jwt.get_unverified_header(token)
    assert {"iss", "aud", "sub", "sid", "role", "iat", "nbf", "exp", "jti"} == set(claims)
    assert (str(USER.id), str(session_id), "operator") == (claims["sub"], claims["sid"], claims["role"])
    assert (now, now, now + 600) == (claims["iat"], claims["nbf"], claims["exp"])


def test_access_tokens_are_all_different() -> None:
    """Two tokens of one session in the same second differ."""
    session_id = new_id()

    assert tokens.sign_access(KEY, USER, session_id, now=1) != tokens.sign_access(KEY, USER, session_id, now=1)


def test_refresh_token_is_32_random_bytes_stored_as_a_hash() -> None:
    """Refresh tokens are long, random and not JWTs; their stored form does not contain them."""
    made = {tokens.new_refresh() for _ in range(1000)}

    assert len(made) == 1000
    for token in list(made)[:10]:
        assert len(base64.urlsafe_b64decode(token + "=")) == 32
        assert len(tokens.hash_refresh(token)) == 32
        assert token.encode() not in tokens.hash_refresh(token)
        assert token.count(".") != 2
