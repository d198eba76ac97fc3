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
from tests.integration.edge.conftest import House, Someone, eventually


@pytest.fixture(scope="module", autouse=True)
def hurried_gateways() -> Iterator[None]:
    """The gateways of this file fetch keys every 200 ms."""
    patch = pytest.MonkeyPatch()
    patch.setattr(jwks, "KEYS_REFRESHED_EVERY_SECONDS", 0.2)
    yield
    patch.undo()


async def pass_time(house: House, seconds: float) -> None:
    """Move the times of the keys into the past."""
    owner = await house.database.pool(house.database.owner_url)
    await owner.execute("UPDATE signing_keys SET signs_from = signs_from - make_interval(secs => $1)", seconds)
    await close_pool(owner)


def kid_of(someone: Someone) -> str:
    return str(jwt.get_unverified_header(someone.body["access_token"])["kid"])


async def test_rotation_ends_no_session(house: House) -> None:
    """Tokens signed before, during and after a rotation work at every gateway; a token of a retired key is 401."""
    operator = await house.operator(f"{uuid4().hex}@example.com")
    before = await house.register(f"{uuid4().hex}@example.com")
    rotated = await operator.call("POST", "/ops/keys/rotate")
    again = await operator.call("POST", "/ops/keys/rotate")
    waiting = await house.again(before)
    await pass_time(house, KEYS_LEARNED_WITHIN_SECONDS + 1)
    after = await house.again(before)
    listed = await operator.call("GET", "/ops/keys")

    assert (201, 200) == (rotated.status, again.status)
    assert ["verifying", "signing"] == [key["state"] for key in listed.body["items"]]
    assert kid_of(before) == kid_of(waiting) != kid_of(after)
    for someone in (operator, before, waiting, after):
        assert [200, 200] == await someone.statuses()

    await pass_time(house, VERIFIES_SECONDS + 1)
    await eventually(lambda: before.are(401))
    refreshed = await before.refresh()

    assert 200 == refreshed.status
    assert await Someone(house, before.email, refreshed.body).are(200)
    assert await after.are(200)
    published = await house.gateways[1].session.get(f"{house.gateways[1].base}/.well-known/jwks.json")
    assert [kid_of(after)] == [key["kid"] for key in (await published.json())["keys"]]
