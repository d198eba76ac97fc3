"""Rotation of signing keys while gateways keep running."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import jwt
import pytest

from services.auth.commands.signing_keys import VERIFIES_SECONDS
from services.chassis.database import close_pool
from services.contracts.access_keys import KEYS_LEARNED_WITHIN_SECONDS
from services.gateway.security import jwks
from tests.integration.edge.conftest import SignedIn, Stack, eventually


@pytest.fixture(scope="module", autouse=True)
def fast_refresh() -> Iterator[None]:
    """The gateways of this file fetch keys every 200 ms."""
    patch = pytest.MonkeyPatch()
    patch.setattr(jwks, "KEYS_REFRESHED_EVERY_SECONDS", 0.2)
    yield
    patch.undo()


async def advance(stack: Stack, seconds: float) -> None:
    """Move the times of the keys into the past."""
    owner = await stack.database.pool(stack.database.owner_url)
    await owner.execute("UPDATE signing_keys SET signs_from = signs_from - make_interval(secs => $1)", seconds)
    await close_pool(owner)


def kid_of(signed_in: SignedIn) -> str:
    return str(jwt.get_unverified_header(signed_in.body["access_token"])["kid"])


async def test_rotation_ends_no_session(stack: Stack) -> None:
    """Tokens signed before, during and after a rotation work at every gateway; a token of a retired key is 401."""
    operator = await stack.operator(f"{uuid4().hex}@example.com")
    before = await stack.register(f"{uuid4().hex}@example.com")
    rotated = await operator.call("POST", "/ops/keys/rotate")
    again = await operator.call("POST", "/ops/keys/rotate")
    waiting = await stack.again(before)
    await advance(stack, KEYS_LEARNED_WITHIN_SECONDS + 1)
    after = await stack.again(before)
    listed = await operator.call("GET", "/ops/keys")

    assert (201, 200) == (rotated.status, again.status)
    assert ["verifying", "signing"] == [key["state"] for key in listed.body["items"]]
    assert kid_of(before) == kid_of(waiting) != kid_of(after)
    for signed_in in (operator, before, waiting, after):
        assert [200, 200] == await signed_in.statuses()

    await advance(stack, VERIFIES_SECONDS + 1)
    await eventually(lambda: before.are(401))
    refreshed = await before.refresh()

    assert 200 == refreshed.status
    assert await SignedIn(stack, before.email, refreshed.body).are(200)
    assert await after.are(200)
    published = await stack.gateways[1].session.get(f"{stack.gateways[1].base}/.well-known/jwks.json")
    assert [kid_of(after)] == [key["kid"] for key in (await published.json())["keys"]]
