"""Refresh, reuse, logout, and the feed of revocations."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import UUID

import jwt
import pytest

from deploy.local.engines import Redis
from services.auth import actions, commands, store, tokens
from services.auth.wakeup import CHANNEL, Wakeup
from services.chassis import database
from services.chassis.database import Pool
from services.contracts import limits
from services.contracts.identifiers import new_id
from tests.harness.databases import TestDatabase
from tests.integration.auth.service import AuthService, running


def claims_of(body: dict[str, Any]) -> dict[str, Any]:
    """The claims of the access token, not verified: see test_keys."""
    return jwt.decode(body["access_token"], options={"verify_signature": False})


async def log_out(auth: AuthService, body: dict[str, Any]) -> int:
    claims = claims_of(body)
    request_body = {"session_id": claims["sid"], "user_id": claims["sub"]}
    return (await auth.call("POST", "/internal/logout", request_body)).status


async def test_refresh_rotates_within_the_session(auth: AuthService) -> None:
    """Each refresh returns a new pair of tokens of the same session, any number of times."""
    body = await auth.register("alice@example.com")
    seen = {body["refresh_token"]}
    for _ in range(5):
        response = await auth.refresh(body["refresh_token"])
        assert response.status == 200
        assert claims_of(body)["sid"] == claims_of(response.body)["sid"]
        assert body["user"] == response.body["user"]
        body = response.body
        seen.add(body["refresh_token"])

    assert len(seen) == 6


async def test_refresh_returns_the_current_role(auth: AuthService, pool: Pool) -> None:
    """A role granted meanwhile is in the next access token."""
    body = await auth.register("alice@example.com")
    await pool.execute("UPDATE users SET role = 'operator'")
    response = await auth.refresh(body["refresh_token"])

    assert (claims_of(body)["role"], claims_of(response.body)["role"]) == ("user", "operator")
    assert response.body["user"]["role"] == "operator"


async def test_reuse_ends_the_session(auth: AuthService) -> None:
    """Guarantee 45: a spent token ends its session, including the newest token; other sessions of the user go on."""
    first = await auth.register("alice@example.com")
    other = (await auth.log_in("alice@example.com")).body
    second = (await auth.refresh(first["refresh_token"])).body
    reused = await auth.refresh(first["refresh_token"])
    newest = await auth.refresh(second["refresh_token"])
    feed = await auth.revocations()

    assert [reused.status, newest.status] == [401, 401]
    assert reused.body["code"] == newest.body["code"] == "invalid_refresh_token"
    assert [claims_of(first)["sid"]] == [item["session_id"] for item in feed["items"]]
    assert (await auth.refresh(other["refresh_token"])).status == 200


async def test_concurrent_uses_of_one_token(auth: AuthService, pool: Pool) -> None:
    """Of twenty concurrent uses of one token one returns a pair, and the session is ended afterwards."""
    body = await auth.register("alice@example.com")
    responses = await asyncio.gather(*(auth.refresh(body["refresh_token"]) for _ in range(20)))
    [won] = [response for response in responses if response.status == 200]

    assert [response.status for response in responses if response is not won] == [401] * 19
    assert (await auth.refresh(won.body["refresh_token"])).status == 401
    assert [item["seq"] for item in (await auth.revocations())["items"]] == [1]
    assert await pool.fetchval("SELECT count(*) FROM audit_log WHERE action = 'refresh_reused'") == 1


async def test_refresh_waits_for_a_concurrent_logout(auth: AuthService, pool: Pool) -> None:
    """A refresh during the logout of its session fails: no pair outlives the session."""
    body = await auth.register("alice@example.com")
    claims = claims_of(body)
    async with database.transaction(pool) as connection:
        live = await store.sessions.lock_live_session(connection, claims["sid"], claims["sub"])
        await actions.sessions.revoke(connection, live, actions.sessions.Reason.LOGOUT)
        refreshing = asyncio.ensure_future(auth.refresh(body["refresh_token"]))
        await until_one_waits_for_a_lock(pool)

    assert (await refreshing).status == 401


@pytest.mark.parametrize("token", ["nonsense", "x" * 43, "ünïcödé", "x" * 8000])
async def test_unknown_refresh_token_is_rejected(auth: AuthService, token: str) -> None:
    """A token that was never issued is rejected and ends nothing."""
    await auth.register("alice@example.com")

    assert (await auth.refresh(token)).status == 401
    assert (await auth.revocations())["items"] == []


async def test_access_token_is_not_a_refresh_token(auth: AuthService) -> None:
    """An access token cannot be used to refresh."""
    body = await auth.register("alice@example.com")
    response = await auth.refresh(body["access_token"])

    assert 401 == response.status
    assert (await auth.refresh(body["refresh_token"])).status == 200


async def test_refresh_token_expires(auth: AuthService, pool: Pool, auth_database: TestDatabase) -> None:
    """A token that is not used within its lifetime is rejected; its session is not revoked."""
    body = await auth.register("alice@example.com")
    lifetime = await pool.fetchval("SELECT extract(epoch FROM expires_at - created_at)::float8 FROM refresh_tokens")
    owner = await auth_database.pool(auth_database.owner_url)
    await owner.execute("UPDATE refresh_tokens SET expires_at = clock_timestamp() - interval '1 second'")
    await database.close_pool(owner)

    assert lifetime == pytest.approx(limits.REFRESH_TOKEN_SECONDS, abs=1)
    assert (await auth.refresh(body["refresh_token"])).status == 401
    assert (await auth.revocations())["items"] == []


async def test_old_spent_tokens_are_deleted(auth: AuthService, pool: Pool, auth_database: TestDatabase) -> None:
    """Tokens spent longer ago than their lifetime are deleted at the next refresh; newer ones are kept."""
    body = await auth.register("alice@example.com")
    body = (await auth.refresh(body["refresh_token"])).body
    owner = await auth_database.pool(auth_database.owner_url)
    await owner.execute("UPDATE refresh_tokens SET expires_at = clock_timestamp() WHERE spent_at IS NOT NULL")
    await database.close_pool(owner)
    await auth.refresh(body["refresh_token"])

    assert await pool.fetchval("SELECT count(*) FROM refresh_tokens") == 2


async def test_only_hashes_of_tokens_are_stored(auth: AuthService, pool: Pool) -> None:
    """No table has a token or a password in plain text."""
    body = await auth.register("alice@example.com", "correct horse battery")
    for table in ("users", "sessions", "refresh_tokens", "signing_keys", "audit_log"):
        text = str(await pool.fetch(f"SELECT * FROM {table}"))
        for secret in ("correct horse battery", body["refresh_token"], body["access_token"]):
            assert secret not in text


async def test_logout_ends_the_session_and_shows_in_the_feed(auth: AuthService) -> None:
    """After a logout the refresh token is invalid and the feed lists the session; a second logout changes nothing."""
    body = await auth.register("alice@example.com")
    before = await auth.revocations()
    statuses = [await log_out(auth, body), await log_out(auth, body)]
    feed = await auth.revocations()

    assert ([], 0) == (before["items"], before["next"])
    assert statuses == [204, 204]
    assert [(1, claims_of(body)["sid"])] == [(item["seq"], item["session_id"]) for item in feed["items"]]
    assert feed["items"][0]["revoked_at"].endswith("Z")
    assert feed["next"] == 1
    assert {"items": [], "next": 1}.items() <= (await auth.revocations(after=1)).items()
    assert (await auth.refresh(body["refresh_token"])).status == 401


async def test_feed_returns_the_time_that_dates_tokens(auth: AuthService) -> None:
    """Its readers can verify access tokens by the clock that dates them."""
    issued_at = claims_of(await auth.register("alice@example.com"))["iat"]
    now = (await auth.revocations())["now"]

    assert issued_at <= now < issued_at + 60


async def test_a_session_of_another_user_cannot_be_ended(auth: AuthService) -> None:
    """A session id with another user id ends nothing, and the response does not reveal it."""
    alice = await auth.register("alice@example.com")
    bob = await auth.register("bob@example.com")
    body = {"session_id": claims_of(alice)["sid"], "user_id": bob["user"]["id"]}
    foreign = await auth.call("POST", "/internal/logout", body)
    unknown = await auth.call("POST", "/internal/logout", {**body, "session_id": str(new_id())})

    assert [foreign.status, unknown.status] == [204, 204]
    assert (await auth.refresh(alice["refresh_token"])).status == 200


async def test_feed_drops_revocations_that_no_token_outlives(auth: AuthService, auth_database: TestDatabase) -> None:
    """A session that ended longer ago than the lifetime of an access token is not listed; the numbers continue."""
    for name in ("alice", "bob"):
        await log_out(auth, await auth.register(f"{name}@example.com"))
    owner = await auth_database.pool(auth_database.owner_url)
    await owner.execute("UPDATE sessions SET revoked_at = revoked_at - interval '1 hour' WHERE seq = 1")
    await database.close_pool(owner)
    feed = await auth.revocations()

    assert [item["seq"] for item in feed["items"]] == [2]
    assert feed["next"] == 2


async def test_reader_ahead_of_a_restored_database_starts_over(auth: AuthService) -> None:
    """A reader beyond the last number has seen another history, and gets everything."""
    await log_out(auth, await auth.register("alice@example.com"))
    feed = await auth.revocations(after=57)

    assert [item["seq"] for item in feed["items"]] == [1]
    assert feed["next"] == 1


async def test_feed_waits_for_earlier_commits(auth: AuthService, pool: Pool) -> None:
    """While an earlier revocation is not committed, no later one can be: a reader that sees one has missed none."""
    first, second = await auth.register("alice@example.com"), await auth.register("bob@example.com")
    claims = claims_of(first)
    async with database.transaction(pool) as connection:
        live = await store.sessions.lock_live_session(connection, claims["sid"], claims["sub"])
        await actions.sessions.revoke(connection, live, actions.sessions.Reason.LOGOUT)
        later = asyncio.ensure_future(log_out(auth, second))
        await until_one_waits_for_a_lock(pool)
        meanwhile = await auth.revocations()
    assert await later == 204
    afterwards = await auth.revocations(after=meanwhile["next"])

    assert ([], 0) == (meanwhile["items"], meanwhile["next"])
    assert [claims["sid"], claims_of(second)["sid"]] == [item["session_id"] for item in afterwards["items"]]
    assert [item["seq"] for item in afterwards["items"]] == [1, 2]


async def until_one_waits_for_a_lock(pool: Pool) -> None:
    deadline = time.monotonic() + 5
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while await pool.fetchval(query) == 0:
        assert time.monotonic() < deadline, "no transaction waited for a lock"
        await asyncio.sleep(0.005)


async def test_feed_is_complete_under_fifty_concurrent_logouts(auth: AuthService) -> None:
    """A reader that follows the feed while fifty sessions end gets each of them once, in order."""
    await auth.register("alice@example.com")
    bodies = [(await auth.log_in("alice@example.com")).body for _ in range(50)]
    seen: list[dict[str, Any]] = []
    ended = asyncio.Event()

    async def follow() -> None:
        after = 0
        while True:
            last_round = ended.is_set()
            feed = await auth.revocations(after)
            seen.extend(feed["items"])
            after = feed["next"]
            if last_round:
                return

    async def end(body: dict[str, Any]) -> int:
        # Some of fifty may wait too long for a connection, and fail without an effect.
        while (status := await log_out(auth, body)) == 503:
            await asyncio.sleep(0.05)
        return status

    reader = asyncio.ensure_future(follow())
    statuses = await asyncio.gather(*(end(body) for body in bodies))
    ended.set()
    await reader

    assert {204} == set(statuses)
    assert list(range(1, 51)) == [item["seq"] for item in seen]
    assert {claims_of(body)["sid"] for body in bodies} == {item["session_id"] for item in seen}
    assert sorted(item["revoked_at"] for item in seen) == [item["revoked_at"] for item in seen]


class CountingWakeup(Wakeup):
    """Counts its notifications."""

    def __init__(self) -> None:
        super().__init__(None)
        self.notified = 0

    async def notify(self, _text: str = "") -> None:
        self.notified += 1


async def test_every_ended_session_wakes_the_gateways(pool: Pool) -> None:
    """Logout and reuse notify once each; a request that ends nothing does not notify."""
    wakeup = CountingWakeup()
    async with running(pool, wakeup=wakeup) as auth:
        body = await auth.register("alice@example.com")
        await auth.refresh(body["refresh_token"])
        before = wakeup.notified
        await auth.refresh(body["refresh_token"])
        await auth.refresh(body["refresh_token"])
        after_reuse = wakeup.notified
        body = (await auth.log_in("alice@example.com")).body
        await log_out(auth, body)
        await log_out(auth, body)

    assert (before, after_reuse, wakeup.notified) == (0, 1, 2)


async def test_wakeup_is_received_through_redis(redis: Redis) -> None:
    """A subscriber of the channel receives the agreed message."""
    wakeup, subscriber = Wakeup(redis.url), Wakeup(redis.url)
    assert subscriber._redis is not None
    async with subscriber._redis.pubsub() as subscription:
        await subscription.subscribe(CHANNEL)
        deadline = time.monotonic() + 10
        message = None
        # A notification can be lost, for example on a machine that is busy for 50 ms.
        while message is None:
            assert time.monotonic() < deadline, "the wake-up was not received"
            await wakeup.notify()
            message = await subscription.get_message(ignore_subscribe_messages=True, timeout=0.2)
    await wakeup.close()
    await subscriber.close()

    assert message["data"] == b"notify"


async def test_logout_works_without_redis(pool: Pool) -> None:
    """While Redis is unavailable, a logout works and is hardly slower."""
    async with running(pool, wakeup=Wakeup("redis://:a-password-of-redis@127.0.0.1:1/0")) as auth:
        body = await auth.register("alice@example.com")
        started = time.monotonic()
        status = await log_out(auth, body)

    assert status == 204
    assert time.monotonic() - started < 5, "the Redis client retries for ten seconds unless it is stopped"


async def test_sessions_are_bounded(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit, a login ends the least recently used session, in the feed as well, so that all can be ended at once."""
    monkeypatch.setattr(commands.accounts, "SESSIONS_MAX", 3)
    wakeup = CountingWakeup()
    async with running(pool, wakeup=wakeup) as auth:
        bob = await auth.register("bob@example.com")
        first = await auth.register("alice@example.com")
        second, third = [(await auth.log_in("alice@example.com")).body for _ in range(2)]
        used = (await auth.refresh(first["refresh_token"])).body
        await asyncio.gather(*(auth.log_in("alice@example.com") for _ in range(2)))
        feed = await auth.revocations()
        refreshed = [(await auth.refresh(each["refresh_token"])).status for each in (second, third, used, bob)]

    assert [claims_of(second)["sid"], claims_of(third)["sid"]] == [item["session_id"] for item in feed["items"]]
    assert [401, 401, 200, 200] == refreshed
    assert 2 == wakeup.notified
    assert 3 == await pool.fetchval(
        "SELECT count(*) FROM sessions WHERE user_id = $1 AND revoked_at IS NULL", UUID(first["user"]["id"])
    )


async def test_spent_tokens_are_bounded(auth: AuthService, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a session that is refreshed endlessly the newest spent tokens are kept; a deleted one is rejected."""
    monkeypatch.setattr(tokens, "SPENT_REMEMBERED_MAX", 3)
    first = session = await auth.register("alice@example.com")
    for _ in range(8):
        session = (await auth.refresh(session["refresh_token"])).body
    kept = await pool.fetchval("SELECT count(*) FROM refresh_tokens")
    forgotten = await auth.refresh(first["refresh_token"])

    assert 5 == kept
    assert 401 == forgotten.status
    assert 200 == (await auth.refresh(session["refresh_token"])).status
