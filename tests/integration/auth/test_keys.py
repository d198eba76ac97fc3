"""The key that signs, and the set that verifies."""

from __future__ import annotations

import asyncio

import jwt
import pytest

from services.auth import commands, keys
from services.auth.keys import Vault, WrongSecret
from services.chassis.database import Pool
from tests.harness.databases import TestDatabase
from tests.integration.auth.service import SECRET, AuthService


async def verify(auth: AuthService, access_token: str) -> dict[str, str]:
    """As the gateway does it: with what the key set says, and nothing the token says about itself but the kid."""
    published = jwt.PyJWKSet.from_dict((await auth.call("GET", "/internal/jwks")).body)
    key = published[jwt.get_unverified_header(access_token)["kid"]]
    return jwt.decode(
        access_token,
        key,
        algorithms=["EdDSA"],
        audience="payflow-api",
        issuer="payflow",
        options={"require": ["exp", "iat", "nbf", "sub", "sid", "jti"]},
    )


async def test_published_keys_verify_access_tokens(auth: AuthService) -> None:
    """Tokens of register, login and refresh verify with the published set; a forged one does not."""
    registered = await auth.register("alice@example.com")
    logged_in = (await auth.log_in("alice@example.com")).body
    refreshed = (await auth.refresh(logged_in["refresh_token"])).body

    for body in (registered, logged_in, refreshed):
        assert registered["user"]["id"] == (await verify(auth, body["access_token"]))["sub"]
    forged = jwt.encode(
        jwt.decode(registered["access_token"], options={"verify_signature": False}),
        keys.new_key().private_key,
        algorithm="EdDSA",
        headers=jwt.get_unverified_header(registered["access_token"]),
    )
    with pytest.raises(jwt.InvalidSignatureError):
        await verify(auth, forged)


async def test_key_set_holds_nothing_private(auth: AuthService) -> None:
    """The published set has exactly the public members."""
    body = (await auth.call("GET", "/internal/jwks")).body

    assert {"keys"} == set(body)
    assert [{"kty", "crv", "x", "kid", "use", "alg"}] == [set(key) for key in body["keys"]]


async def test_first_starts_at_once_make_one_key(pool: Pool) -> None:
    """Ten processes that start on an empty database end up with one key."""
    told = await asyncio.gather(*(commands.list_keys(pool, Vault(SECRET)) for _ in range(10)))

    assert len({key.kid for stored in told for key in stored}) == 1
    assert await pool.fetchval("SELECT count(*) FROM signing_keys") == 1


async def test_rotation_logs_nobody_out(auth: AuthService, auth_database: TestDatabase, pool: Pool) -> None:
    """A key is published before it signs; when its time comes it signs; tokens of the key before still verify."""
    before = await auth.register("alice@example.com")
    newer = keys.new_key()
    stored = Vault(SECRET).seal(newer)
    await pool.execute(
        "INSERT INTO signing_keys (kid, public_key, private_key_sealed, signs_from)"
        " VALUES ($1, $2, $3, clock_timestamp() + interval '1 hour')",
        stored.kid,
        stored.public_key,
        stored.private_key_sealed,
    )
    waiting = (await auth.log_in("alice@example.com")).body
    published = (await auth.call("GET", "/internal/jwks")).body["keys"]
    owner = await auth_database.pool(auth_database.owner_url)
    await owner.execute("UPDATE signing_keys SET signs_from = clock_timestamp() WHERE kid = $1", stored.kid)
    await owner.close()
    after = (await auth.log_in("alice@example.com")).body

    assert len(published) == 2
    assert newer.kid != jwt.get_unverified_header(waiting["access_token"])["kid"]
    assert newer.kid == jwt.get_unverified_header(after["access_token"])["kid"]
    for body in (before, waiting, after):
        assert await verify(auth, body["access_token"])


async def test_retired_key_is_not_published(auth: AuthService, auth_database: TestDatabase) -> None:
    """A retired key verifies nothing any more, and a new one is made to sign."""
    body = await auth.register("alice@example.com")
    owner = await auth_database.pool(auth_database.owner_url)
    await owner.execute("UPDATE signing_keys SET retired_at = clock_timestamp()")
    await owner.close()

    with pytest.raises(KeyError):
        await verify(auth, body["access_token"])
    assert await verify(auth, (await auth.log_in("alice@example.com")).body["access_token"])


async def test_wrong_secret_is_noticed(auth: AuthService, pool: Pool) -> None:
    """With another secret the stored key does not open: nothing is signed, no second key is made."""
    await auth.register("alice@example.com")

    with pytest.raises(WrongSecret):
        await commands.list_keys(pool, Vault(SECRET[::-1]))
    assert await pool.fetchval("SELECT count(*) FROM signing_keys") == 1
