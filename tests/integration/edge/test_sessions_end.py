"""Every way of ending a session ends it at every gateway, whatever Redis does; and the session routes of the gateway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from uuid import uuid4

import pytest
import redis.asyncio as redis

from tests.harness.api import PASSWORD, Response
from tests.harness.drills import bound
from tests.integration.auth.test_totp import Authenticator
from tests.integration.edge.conftest import SignedIn, Stack, eventually

NEW_PASSWORD = "another battery staple"
KNOWN_EVERYWHERE_SECONDS = bound(20.0, 2.0)
"""The guarantee is one second. The short form also runs on busy machines; without the guard it takes ten minutes."""

TRIES = 12
"""Five failures are free; after that only few attempts are admitted, however long the responses take."""

End = Callable[[Stack, SignedIn], Awaitable[Response]]


def new_email() -> str:
    return f"{uuid4().hex}@example.com"


async def log_out(_house: Stack, signed_in: SignedIn) -> Response:
    return await signed_in.call("POST", "/auth/logout")


async def change_password(_house: Stack, signed_in: SignedIn) -> Response:
    body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    return await signed_in.call("POST", "/auth/password", body)


async def end_from_elsewhere(stack: Stack, signed_in: SignedIn) -> Response:
    other = await stack.again(signed_in)
    listed = (await other.call("GET", "/auth/sessions")).body["items"]
    (session_id,) = [item["id"] for item in listed if not item["current"]]
    return await other.call("DELETE", f"/auth/sessions/{session_id}")


async def end_all_others(stack: Stack, signed_in: SignedIn) -> Response:
    return await (await stack.again(signed_in)).call("DELETE", "/auth/sessions")


async def disable(stack: Stack, signed_in: SignedIn) -> Response:
    operator = await stack.operator(new_email())
    return await operator.call("PUT", f"/ops/users/{signed_in.id}/disable", {"reason": "a test"})


async def reuse(_house: Stack, signed_in: SignedIn) -> Response:
    await signed_in.refresh()
    return await signed_in.refresh()


ENDS: list[End] = [log_out, change_password, end_from_elsewhere, end_all_others, disable, reuse]


async def redis_unchanged(_house: Stack) -> None:
    """Redis works normally."""


async def redis_flushed(stack: Stack) -> None:
    client = redis.Redis.from_url(stack.redis.url, socket_timeout=60)
    await client.flushall()
    await client.aclose()


async def redis_frozen(stack: Stack) -> None:
    stack.freeze_redis()


async def redis_down(stack: Stack) -> None:
    stack.redis.kill()


@pytest.mark.parametrize("disturb", [redis_unchanged, redis_flushed, redis_frozen, redis_down])
async def test_an_ended_session_is_refused_everywhere(
    stack: Stack, disturb: Callable[[Stack], Awaitable[None]]
) -> None:
    """Guarantee 45: logout, a password change, revoked sessions, a disabled user, a reused refresh token: 401 everywhere."""
    await disturb(stack)
    for end in ENDS:
        signed_in = await stack.register(new_email())
        assert [200, 200] == await signed_in.statuses(), end
        response = await end(stack, signed_in)
        assert response.status in (200, 204, 401), (end, response)
        seconds = await eventually(partial(signed_in.are, 401), seconds=KNOWN_EVERYWHERE_SECONDS)
        print(f"{disturb.__name__}, {end.__name__}: known to both gateways after {seconds * 1000:.0f} ms")
        assert 401 == (await signed_in.refresh()).status, end


async def test_a_password_change_returns_a_new_session(stack: Stack) -> None:
    """Guarantee 45: the response is a session that works everywhere; the new password works, the old one does not."""
    signed_in = await stack.register(new_email())
    changed = await change_password(stack, signed_in)
    now = SignedIn(stack, signed_in.email, changed.body)

    assert (200, signed_in.body["user"]) == (changed.status, changed.body["user"])
    assert await now.are(200)
    assert [401, 200] == [(await stack.log_in(signed_in.email, each)).status for each in (PASSWORD, NEW_PASSWORD)]


async def test_sessions_are_listed(stack: Stack) -> None:
    """Newest first, the current one marked, with the shortened printable user agent; paginated; only own sessions."""
    first = await stack.register(new_email())
    await stack.register(new_email())
    login = {"email": first.email, "password": PASSWORD}
    headers = {"User-Agent": "curl/8 \xe9\u202e" + "x" * 300}
    second = SignedIn(
        stack, first.email, (await stack.gateways[0].send("POST", "/auth/login", json=login, headers=headers)).body
    )
    items = (await second.call("GET", "/auth/sessions")).body["items"]
    page = (await second.call("GET", "/auth/sessions?limit=1")).body
    rest = (await second.call("GET", f"/auth/sessions?limit=1&cursor={page['next_cursor']}")).body

    assert [True, False] == [item["current"] for item in items]
    assert {"id", "created_at", "used_at", "user_agent", "current"} == set(items[0])
    assert items[0]["user_agent"].startswith("curl/8 ")
    assert (True, True) == (items[0]["user_agent"].isprintable(), len(items[0]["user_agent"]) <= 120)
    assert (items[:1], items[1:], None) == (page["items"], rest["items"], rest["next_cursor"])


async def test_session_of_another_user_is_unknown(stack: Stack) -> None:
    """Guarantee 46: another user's session, an unknown id and an invalid id get the same response; the session stays active."""
    alice, bob = await stack.register(new_email()), await stack.register(new_email())
    session_id = (await alice.call("GET", "/auth/sessions")).body["items"][0]["id"]
    responses = [await bob.call("DELETE", f"/auth/sessions/{each}") for each in (session_id, uuid4(), "x")]

    assert [(404, "session_not_found")] * 3 == [(each.status, each.code) for each in responses]
    assert 1 == len({str(each.body | {"request_id": ""}) for each in responses})
    assert await alice.are(200)


async def test_wrong_current_passwords_are_throttled(stack: Stack) -> None:
    """A stolen session cannot try passwords endlessly: 401 each, then 429, while the owner can still log in."""
    signed_in = await stack.register(new_email())
    body = {"current_password": "not the password", "new_password": NEW_PASSWORD}
    statuses = [(await signed_in.call("POST", "/auth/password", body)).status for _ in range(TRIES)]

    assert (401, 429) == (statuses[0], statuses[-1])
    assert {401, 429} == set(statuses)
    assert 200 == (await stack.log_in(signed_in.email)).status


async def test_second_factor_at_the_gateway(stack: Stack) -> None:
    """From set-up to login, as a front end does it; wrong codes are counted like wrong passwords."""
    signed_in = await stack.register(new_email())
    proposal = await signed_in.call("POST", "/auth/totp", {"password": PASSWORD})
    authenticator = Authenticator(proposal.body["uri"])
    confirmed = await signed_in.call("POST", "/auth/totp/confirm", {"code": authenticator.code()})
    without = await stack.log_in(signed_in.email)
    login = await stack.log_in(signed_in.email, totp=confirmed.body["recovery_codes"][0])
    me = await signed_in.call("GET", "/auth/me")
    removed = await signed_in.call(
        "DELETE", "/auth/totp", {"password": PASSWORD, "totp": confirmed.body["recovery_codes"][1]}
    )
    again = await signed_in.call("POST", "/auth/totp", {"password": PASSWORD})
    await signed_in.call("POST", "/auth/totp/confirm", {"code": Authenticator(again.body["uri"]).code()})
    wrong = [(await stack.log_in(signed_in.email, totp="12345")).status for _ in range(TRIES)]

    assert (200, 200, 10) == (proposal.status, confirmed.status, len(confirmed.body["recovery_codes"]))
    assert (401, "totp_required") == (without.status, without.code)
    assert (200, True, True) == (login.status, login.body["user"]["totp"], me.body["totp"])
    assert 204 == removed.status
    assert (401, 429) == (wrong[0], wrong[-1])


async def test_operators_manage_users(stack: Stack) -> None:
    """Find by e-mail, disable, enable, promote and demote; not the own account; users may do none of it."""
    operator, signed_in = await stack.operator(new_email()), await stack.register(new_email())
    found = await operator.call("GET", f"/ops/users?email={signed_in.email}")
    path = f"/ops/users/{signed_in.id}"
    refused = [
        await signed_in.call("GET", f"/ops/users?email={signed_in.email}"),
        await signed_in.call("PUT", f"{path}/role", {"role": "operator"}),
        await signed_in.call("DELETE", f"{path}/disable"),
        await signed_in.call("POST", "/ops/keys/rotate"),
    ]
    promoted = await operator.call("PUT", f"{path}/role", {"role": "operator"})
    demoted = await operator.call("PUT", f"{path}/role", {"role": "user"})
    own = [
        await operator.call("PUT", f"/ops/users/{operator.id}/role", {"role": "user"}),
        await operator.call("PUT", f"/ops/users/{operator.id}/disable", {"reason": "x"}),
    ]
    disabled = await operator.call("PUT", f"{path}/disable", {"reason": "a test"})
    out = await stack.log_in(signed_in.email)
    enabled = await operator.call("DELETE", f"{path}/disable")

    assert (200, signed_in.id, None) == (found.status, found.body["id"], found.body["disabled"])
    assert [(403, "operator_required")] * 4 == [(each.status, each.code) for each in refused]
    assert ["operator", "user"] == [each.body["role"] for each in (promoted, demoted)]
    assert [(409, "cannot_modify_self")] * 2 == [(each.status, each.code) for each in own]
    assert "a test" == disabled.body["disabled"]["reason"]
    assert (403, "user_disabled") == (out.status, out.code)
    assert (200, 200) == (enabled.status, (await stack.log_in(signed_in.email)).status)
    assert 404 == (await operator.call("GET", "/ops/users?email=nobody@example.com")).status
