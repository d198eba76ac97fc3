"""An API key at two real gateways with the real auth: cached by both, ended at both, whatever Redis does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from services.contracts.identifiers import new_id
from services.gateway import operations
from services.gateway.api import OPERATIONS
from services.gateway.operations import Access
from tests.harness.api import PASSWORD, ApiClient, Response
from tests.integration.edge.conftest import SignedIn, Stack, eventually
from tests.integration.edge.test_sessions_end import (
    KNOWN_EVERYWHERE_SECONDS,
    change_password,
    disable,
    end_all_others,
    log_out,
    new_email,
    redis_down,
    redis_frozen,
    redis_unchanged,
)

EXPIRES_SECONDS = 4.0
"""The lifetime of a key that expires: long enough to be used once, also on a busy machine."""


@dataclass
class Server:
    """A user's server, with a key."""

    owner: SignedIn
    key_id: str
    key: str

    async def statuses(self) -> list[int]:
        """The status of each gateway for the key, for a resource of auth."""
        path = f"/recipients?email={self.owner.email}"
        return [(await self.ask("GET", path, each)).status for each in self.owner.stack.gateways]

    async def ask(self, method: str, path: str, gateway: ApiClient) -> Response:
        """One request with the key."""
        return await gateway.send(method, path, headers={"Authorization": f"Bearer {self.key}"})

    async def are(self, status: int) -> bool:
        return {status} == set(await self.statuses())


def _body(**changes: object) -> dict[str, object]:
    return {"name": "till", "scopes": ["read"], "password": PASSWORD} | changes


async def create(stack: Stack, **changes: object) -> Server:
    owner = await stack.register(new_email())
    response = await owner.call("POST", "/api-keys", _body(**changes))
    assert response.status == 201, response
    return Server(owner, response.body["id"], response.body["key"])


async def revoke(_house: Stack, server: Server) -> Response:
    return await server.owner.call("DELETE", f"/api-keys/{server.key_id}")


def owners(end: Callable[[Stack, SignedIn], Awaitable[Response]]) -> Callable[[Stack, Server], Awaitable[Response]]:
    """An action that ends all sessions of the owner."""

    async def action(stack: Stack, server: Server) -> Response:
        return await end(stack, server.owner)

    return action


@pytest.mark.parametrize("disturb", [redis_unchanged, redis_frozen, redis_down])
async def test_an_ended_key_is_refused_everywhere(stack: Stack, disturb: Callable[[Stack], Awaitable[None]]) -> None:
    """Guarantee 45: a key cached by both gateways ends at both, by itself or with all sessions of its owner."""
    await disturb(stack)
    for end in (revoke, *map(owners, (change_password, end_all_others, disable))):
        server = await create(stack)
        assert [200, 200] == await server.statuses()
        assert (await end(stack, server)).status in (200, 204)

        async def has_ended(server: Server = server) -> bool:
            return await server.are(401)

        seconds = await eventually(has_ended, seconds=KNOWN_EVERYWHERE_SECONDS)
        print(f"{disturb.__name__}: known to both gateways after {seconds * 1000:.0f} ms")


async def expire(stack: Stack, server: Server) -> Response:
    ended = datetime.now(UTC) + timedelta(seconds=EXPIRES_SECONDS)
    server.key = (await server.owner.call("POST", "/api-keys", _body(expires_at=ended.isoformat()))).body["key"]
    return await server.ask("GET", f"/recipients?email={server.owner.email}", stack.gateways[0])


async def disable_and_enable(stack: Stack, server: Server) -> Response:
    await disable(stack, server.owner)
    operator = await stack.operator(new_email())
    return await operator.call("DELETE", f"/ops/users/{server.owner.id}/disable")


async def test_an_ended_key_is_refused_at_every_path(stack: Stack) -> None:
    """Guarantee 45: a key that is revoked, expired or of a disabled user is refused at every path, and nothing is recorded."""
    guarded = [row for row in OPERATIONS if row.access is not Access.PUBLIC]
    for end in (revoke, expire, owners(disable), disable_and_enable):
        server = await create(stack, scopes=["read", "transfer"])
        # The first gateway has cached the key; the other has never seen it.
        assert 200 == (await server.ask("GET", f"/recipients?email={server.owner.email}", stack.gateways[0])).status
        assert (await end(stack, server)).status in (200, 204)

        async def has_ended(server: Server = server) -> bool:
            return await server.are(401)

        await eventually(has_ended, seconds=KNOWN_EVERYWHERE_SECONDS + EXPIRES_SECONDS)
        recorded = await _rows(stack)
        for place, row in enumerate(guarded):
            path = row.path.removeprefix(operations.BASE).replace("{id}", str(new_id()))
            response = await server.ask(row.method, path, stack.gateways[place % 2])
            assert (401, "invalid_token") == (response.status, response.code), f"{row.method} {row.path}"
        assert recorded == await _rows(stack)


async def _rows(stack: Stack) -> list[int]:
    tables = ("audit_log", "api_keys", "sessions", "users", "emails", "refresh_tokens")
    return [await stack.pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables]


async def test_a_logout_does_not_end_keys(stack: Stack) -> None:
    """Keys keep working after a logout of their owner; the list of the next session shows the last use."""
    server = await create(stack)
    assert 204 == (await log_out(stack, server.owner)).status
    assert [200, 200] == await server.statuses()
    [listed] = (await (await stack.again(server.owner)).call("GET", "/api-keys")).body["items"]

    assert server.key_id == listed["id"]
    assert listed["last_used_at"] > listed["created_at"]


async def test_allowed_scopes_and_owners_of_keys(stack: Stack) -> None:
    """The scope `operate` is for operators; another user's key is reported as unknown."""
    server, other = await create(stack), await stack.register(new_email())
    refused = await other.call("POST", "/api-keys", _body(scopes=["operate"]))
    unknown = await other.call("DELETE", f"/api-keys/{server.key_id}")

    assert (403, "operator_required") == (refused.status, refused.body["code"])
    assert (404, "api_key_not_found") == (unknown.status, unknown.body["code"])
    assert [200, 200] == await server.statuses()
