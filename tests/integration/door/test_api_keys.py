"""An API key at two real gateways before the real auth: known to both, ended at both, whatever Redis does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from tests.harness.api import Answer
from tests.integration.door.conftest import House, Someone, eventually
from tests.integration.door.test_sessions_end import (
    KNOWN_EVERYWHERE_SECONDS,
    change_password,
    disable,
    end_all_others,
    log_out,
    new_email,
    redis_as_ever,
    redis_down,
    redis_frozen,
)


@dataclass
class Server:
    """Somebody's server, with a key."""

    owner: Someone
    key_id: str
    key: str

    async def statuses(self) -> list[int]:
        """What each gateway says to the key; what is asked for is at auth."""
        headers = {"Authorization": f"Bearer {self.key}"}
        path = f"/recipients?email={self.owner.email}"
        return [(await each.send("GET", path, headers=headers)).status for each in self.owner.house.gateways]

    async def are(self, status: int) -> bool:
        return {status} == set(await self.statuses())


async def make(house: House, **changes: object) -> Server:
    owner = await house.register(new_email())
    answer = await owner.call("POST", "/api-keys", {"name": "till", "scopes": ["read"]} | changes)
    assert answer.status == 201, answer
    return Server(owner, answer.body["id"], answer.body["key"])


async def revoke(_house: House, server: Server) -> Answer:
    return await server.owner.call("DELETE", f"/api-keys/{server.key_id}")


def owners(end: Callable[[House, Someone], Awaitable[Answer]]) -> Callable[[House, Server], Awaitable[Answer]]:
    """What ends all sessions of the owner."""

    async def act(house: House, server: Server) -> Answer:
        return await end(house, server.owner)

    return act


@pytest.mark.parametrize("mistreat", [redis_as_ever, redis_frozen, redis_down])
async def test_the_end_of_a_key_is_known_everywhere(house: House, mistreat: Callable[[House], Awaitable[None]]) -> None:
    """Guarantee 45: a key that both gateways remember ends at both, by itself or with all sessions of its owner."""
    await mistreat(house)
    for end in (revoke, *map(owners, (change_password, end_all_others, disable))):
        server = await make(house)
        assert [200, 200] == await server.statuses()
        assert (await end(house, server)).status in (200, 204)

        async def has_ended(server: Server = server) -> bool:
            return await server.are(401)

        seconds = await eventually(has_ended, seconds=KNOWN_EVERYWHERE_SECONDS)
        print(f"{mistreat.__name__}: known to both gateways after {seconds * 1000:.0f} ms")


async def test_a_logout_ends_no_key(house: House) -> None:
    """Servers go on when their owner logs out; the list of the next session shows when the key was used last."""
    server = await make(house)
    assert 204 == (await log_out(house, server.owner)).status
    assert [200, 200] == await server.statuses()
    [listed] = (await (await house.again(server.owner)).call("GET", "/api-keys")).body["items"]

    assert server.key_id == listed["id"]
    assert listed["last_used_at"] > listed["created_at"]


async def test_who_may_have_which_key(house: House) -> None:
    """Operating is for operators; another's key is as an unknown one."""
    server, other = await make(house), await house.register(new_email())
    refused = await other.call("POST", "/api-keys", {"name": "x", "scopes": ["operate"]})
    unknown = await other.call("DELETE", f"/api-keys/{server.key_id}")

    assert (403, "operator_required") == (refused.status, refused.body["code"])
    assert (404, "api_key_not_found") == (unknown.status, unknown.body["code"])
    assert [200, 200] == await server.statuses()
