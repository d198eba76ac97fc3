"""The feed of revocations: how long it lists one, its pages, and its metric."""

from __future__ import annotations

import pytest

from services.auth import commands, metrics
from services.chassis.database import Pool
from services.contracts import limits
from services.gateway.security.authentication import CLOCK_SECONDS
from tests.harness.databases import TestDatabase
from tests.integration.auth.service import AuthService
from tests.integration.auth.test_emails import owner_pool
from tests.integration.auth.test_sessions import claims_of, log_out

EMAIL = "alice@example.com"


async def test_a_revocation_is_listed_while_a_token_can_be_valid(
    auth: AuthService, auth_database: TestDatabase
) -> None:
    """A gateway that starts gets every session and API key that was revoked within the lifetime of an access token."""
    session = await auth.register(EMAIL)
    body = {
        "user_id": session["user"]["id"], "session_id": claims_of(session)["sid"], "password": "correct horse",
        "name": "server", "scopes": ["read"],
    }  # fmt: skip
    key = (await auth.call("POST", "/internal/api-keys", body)).body
    revoked = await auth.call("DELETE", f"/internal/api-keys/{key['id']}", params={"user_id": session["user"]["id"]})
    assert 204 == revoked.status
    await log_out(auth, session)
    output = {}
    async with owner_pool(auth_database) as owner:
        for seconds in (limits.ACCESS_TOKEN_SECONDS + CLOCK_SECONDS, 3600):
            for table in ("sessions", "api_keys"):
                await owner.execute(
                    f"UPDATE {table} SET revoked_at = clock_timestamp() - make_interval(secs => $1)", float(seconds)
                )
            output[seconds] = [item["session_id"] for item in (await auth.revocations())["items"]]

    assert [[key["id"], claims_of(session)["sid"]], []] == list(output.values())


async def test_pages_of_the_feed_are_complete(auth: AuthService, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that follows the pages gets every number once, in order."""
    monkeypatch.setattr(commands.sessions, "REVOCATIONS_MAX", 3)
    sessions = [await auth.register(EMAIL), *[(await auth.log_in(EMAIL)).body for _ in range(6)]]
    for session in sessions:
        await log_out(auth, session)
    pages, after = [], 0
    while (page := await auth.revocations(after))["items"]:
        pages.append([item["seq"] for item in page["items"]])
        after = page["next"]

    assert [[1, 2, 3], [4, 5, 6], [7]] == pages
    assert 7 == after


async def test_every_ended_session_is_counted(auth: AuthService) -> None:
    """The metric counts ended sessions, not requests."""
    first = await auth.register(EMAIL)
    for _ in range(3):
        await auth.log_in(EMAIL)
    counter = metrics.SESSIONS_ENDED.labels("revoked")
    before = counter._value.get()
    body = {"user_id": first["user"]["id"], "session_id": claims_of(first)["sid"]}
    assert 204 == (await auth.call("POST", "/internal/sessions/end-others", body)).status

    assert 3 == counter._value.get() - before


async def test_an_expired_session_is_not_listed(auth: AuthService, auth_database: TestDatabase) -> None:
    """A session is listed only while its refresh token is valid."""
    session = await auth.register(EMAIL)
    path = f"/internal/users/{session['user']['id']}/sessions"
    expiring, listed = "UPDATE refresh_tokens SET expires_at = clock_timestamp() + $1::text::interval", []
    async with owner_pool(auth_database) as owner:
        for when in ("1 hour", "-1 second"):
            await owner.execute(expiring, when)
            listed.append(len((await auth.call("GET", path)).body["items"]))

    assert [1, 0] == listed


async def test_a_refresh_updates_the_time_of_use(auth: AuthService, pool: Pool) -> None:
    """A refresh updates the time of use alone; a page with all sessions has no next one."""
    session = await auth.register(EMAIL)
    path = f"/internal/users/{session['user']['id']}/sessions"
    [before] = (await auth.call("GET", path)).body["items"]
    assert 200 == (await auth.refresh(session["refresh_token"])).status
    await auth.log_in(EMAIL)
    page = (await auth.call("GET", path, params={"limit": "2"})).body
    after = page["items"][1]

    assert before["created_at"] == after["created_at"]
    assert before["used_at"] < after["used_at"]
    assert (2, None) == (len(page["items"]), page["next_cursor"])
    assert 2 == await pool.fetchval("SELECT count(*) FROM sessions")
