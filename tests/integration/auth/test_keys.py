"""Signing keys, and the published key set."""

from __future__ import annotations

import asyncio

import jwt
import pytest

from services.auth import commands
from services.auth.keyring import Keyring, WrongSecret, new_signing_key
from services.chassis.database import Pool
from services.contracts.access_keys import KEYS_LEARNED_WITHIN_SECONDS
from services.contracts.identifiers import new_id
from tests.harness.databases import TestDatabase
from tests.integration.auth.service import SECRET, AuthService, Response


async def verify(auth: AuthService, access_token: str) -> dict[str, str]:
    """Verify as the gateway does: with the key set, trusting nothing of the token but its kid."""
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
        new_signing_key().private_key,
        algorithm="EdDSA",
        headers=jwt.get_unverified_header(registered["access_token"]),
    )
    with pytest.raises(jwt.InvalidSignatureError):
        await verify(auth, forged)


async def test_key_set_has_no_private_members(auth: AuthService) -> None:
    """The published set has exactly the public members."""
    body = (await auth.call("GET", "/internal/jwks")).body

    assert {"keys"} == set(body)
    assert [{"kty", "crv", "x", "kid", "use", "alg"}] == [set(key) for key in body["keys"]]


async def test_concurrent_first_starts_create_one_key(pool: Pool) -> None:
    """Ten processes that start on an empty database create one key."""
    output = await asyncio.gather(*(commands.signing_keys.list_keys(pool, Keyring(SECRET)) for _ in range(10)))

    assert len({key.kid for stored in output for key in stored}) == 1
    assert await pool.fetchval("SELECT count(*) FROM signing_keys") == 1


async def age(auth_database: TestDatabase, seconds: float) -> None:
    """Move all keys back by so many seconds."""
    owner = await auth_database.pool(auth_database.owner_url)
    await owner.execute("UPDATE signing_keys SET signs_from = signs_from - make_interval(secs => $1)", seconds)
    await owner.close()


async def rotate(auth: AuthService) -> Response:
    return await auth.call("POST", "/internal/keys/rotate", {"operator_id": str(new_id())})


def kid_of(response: Response) -> str:
    return str(jwt.get_unverified_header(response.body["access_token"])["kid"])


async def test_rotation_ends_no_session(auth: AuthService, auth_database: TestDatabase) -> None:
    """A key is published before it signs, and signs once every gateway has fetched it; tokens of the last key still verify."""
    before = await auth.register("alice@example.com")
    rotated = await rotate(auth)
    waiting = await auth.log_in("alice@example.com")
    published = (await auth.call("GET", "/internal/jwks")).body["keys"]
    await age(auth_database, KEYS_LEARNED_WITHIN_SECONDS + 1)
    after = await auth.log_in("alice@example.com")

    old, new = [key["kid"] for key in rotated.body["items"]]
    assert (201, True) == (rotated.status, rotated.body["rotated"])
    assert ["signing", "waiting"] == [key["state"] for key in rotated.body["items"]]
    assert [old, new] == [key["kid"] for key in published]
    assert (old, new) == (kid_of(waiting), kid_of(after))
    for body in (before, waiting.body, after.body):
        assert await verify(auth, body["access_token"])


async def test_old_key_retires_by_itself(auth: AuthService, auth_database: TestDatabase, pool: Pool) -> None:
    """A key is published while a token of it can be valid; then it is retired automatically, and audited."""
    old = (await auth.register("alice@example.com"))["access_token"]
    await rotate(auth)
    await age(auth_database, KEYS_LEARNED_WITHIN_SECONDS + commands.signing_keys.VERIFIES_SECONDS - 5)
    still = await verify(auth, old)
    await age(auth_database, 10)
    with pytest.raises(KeyError):
        await verify(auth, old)
    states = [key["state"] for key in (await auth.call("GET", "/internal/keys")).body["items"]]

    assert still
    assert ["retired", "signing"] == states
    actions = await pool.fetch("SELECT action FROM audit_log WHERE action LIKE 'key_%' ORDER BY id")
    assert ["key_rotated", "key_retired"] == [row["action"] for row in actions]


async def test_concurrent_rotations_create_one_key(auth: AuthService, auth_database: TestDatabase) -> None:
    """Ten concurrent rotations create one key, and the next one only once it signs. Every token verifies all the time."""
    seen = [(await auth.register("alice@example.com"))["access_token"]]
    responses = await asyncio.gather(*(rotate(auth) for _ in range(10)))
    for _ in range(3):
        seen.append((await auth.log_in("alice@example.com")).body["access_token"])
        await age(auth_database, KEYS_LEARNED_WITHIN_SECONDS + 1)
        seen.append((await auth.log_in("alice@example.com")).body["access_token"])
        assert 201 == (await rotate(auth)).status

    assert [200] * 9 + [201] == sorted(response.status for response in responses)
    assert 5 == len((await auth.call("GET", "/internal/keys")).body["items"])
    for token in seen:
        assert await verify(auth, token)


async def test_retired_key_is_not_published(auth: AuthService, auth_database: TestDatabase) -> None:
    """A retired key verifies nothing, and a new one is created to sign."""
    body = await auth.register("alice@example.com")
    owner = await auth_database.pool(auth_database.owner_url)
    await owner.execute("UPDATE signing_keys SET retired_at = clock_timestamp()")
    await owner.close()

    with pytest.raises(KeyError):
        await verify(auth, body["access_token"])
    assert await verify(auth, (await auth.log_in("alice@example.com")).body["access_token"])


async def test_wrong_secret_is_detected(auth: AuthService, pool: Pool) -> None:
    """With another secret the stored key cannot be opened: nothing is signed, and no second key is created."""
    await auth.register("alice@example.com")

    with pytest.raises(WrongSecret):
        await commands.signing_keys.list_keys(pool, Keyring(SECRET[::-1]))
    assert await pool.fetchval("SELECT count(*) FROM signing_keys") == 1
