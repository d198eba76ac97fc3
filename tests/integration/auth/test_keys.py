"""The key that signs, and the set that verifies."""

from __future__ import annotations

import asyncio

import jwt
import pytest

from services.auth import commands, keyring
from services.auth.keyring import Vault, WrongSecret
from services.chassis.database import Pool
from services.contracts.access_keys import KEYS_LEARNED_WITHIN_SECONDS
from services.contracts.identifiers import new_id
from tests.harness.databases import TestDatabase
from tests.integration.auth.service import SECRET, Answer, AuthService


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
        keyring.new_key().private_key,
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
    told = await asyncio.gather(*(commands.signing_keys.list_keys(pool, Vault(SECRET)) for _ in range(10)))

    assert len({key.kid for stored in told for key in stored}) == 1
    assert await pool.fetchval("SELECT count(*) FROM signing_keys") == 1


async def age(auth_database: TestDatabase, seconds: float) -> None:
    """Let this much time pass for the keys."""
    owner = await auth_database.pool(auth_database.owner_url)
    await owner.execute("UPDATE signing_keys SET signs_from = signs_from - make_interval(secs => $1)", seconds)
    await owner.close()


async def rotate(auth: AuthService) -> Answer:
    return await auth.call("POST", "/internal/keys/rotate", {"operator_id": str(new_id())})


def kid_of(answer: Answer) -> str:
    return str(jwt.get_unverified_header(answer.body["access_token"])["kid"])


async def test_rotation_logs_nobody_out(auth: AuthService, auth_database: TestDatabase) -> None:
    """A key is published before it signs; when everybody must know it, it signs; tokens of the key before still verify."""
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
    """While a token of the key before may live it is published; then it is gone without anybody's doing, and audited."""
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


async def test_rotating_again_at_once_makes_no_other_key(auth: AuthService, auth_database: TestDatabase) -> None:
    """Ten rotations at once make one key; the next one is made only after that one signs. Every token verifies all the time."""
    seen = [(await auth.register("alice@example.com"))["access_token"]]
    answers = await asyncio.gather(*(rotate(auth) for _ in range(10)))
    for _ in range(3):
        seen.append((await auth.log_in("alice@example.com")).body["access_token"])
        await age(auth_database, KEYS_LEARNED_WITHIN_SECONDS + 1)
        seen.append((await auth.log_in("alice@example.com")).body["access_token"])
        assert 201 == (await rotate(auth)).status

    assert [200] * 9 + [201] == sorted(answer.status for answer in answers)
    assert 5 == len((await auth.call("GET", "/internal/keys")).body["items"])
    for token in seen:
        assert await verify(auth, token)


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
        await commands.signing_keys.list_keys(pool, Vault(SECRET[::-1]))
    assert await pool.fetchval("SELECT count(*) FROM signing_keys") == 1
