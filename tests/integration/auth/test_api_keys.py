"""API keys: shown once, stored as a hash, limited, revoked through the feed of sessions, and audited."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.auth import commands, schemas
from services.auth.rules.user import Role
from services.chassis.database import Pool
from services.contracts.api_keys import hash_key, is_well_formed, new_key
from services.contracts.identifiers import new_id
from tests.harness.locks import until_waiting
from tests.integration.auth.service import AuthService, Response, register_operator, running
from tests.integration.auth.test_sessions import claims_of, log_out
from tests.integration.auth.test_totp import enable_totp

EMAIL = "alice@example.com"
PASSWORD = "correct horse"


@dataclass
class Owner:
    """A user with API keys."""

    auth: AuthService
    session: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return str(self.session["user"]["id"])

    async def request_key(self, **changes: Any) -> Response:
        session_id = claims_of(self.session)["sid"]
        body = {"user_id": self.id, "session_id": session_id, "name": "server", "scopes": ["read"]}
        return await self.auth.call("POST", "/internal/api-keys", body | {"password": PASSWORD} | changes)

    async def make(self, **changes: Any) -> dict[str, Any]:
        response = await self.request_key(**changes)
        assert response.status == 201, response
        return dict(response.body)

    async def list(self) -> list[dict[str, Any]]:
        response = await self.auth.call("GET", "/internal/api-keys", params={"user_id": self.id})
        return list(response.body["items"])

    async def revoke(self, key_id: str) -> Response:
        return await self.auth.call("DELETE", f"/internal/api-keys/{key_id}", params={"user_id": self.id})


async def verify(auth: AuthService, key: str) -> Response:
    return await auth.call("POST", "/internal/api-keys/verify", {"hash": hash_key(key).hex()})


async def owner_of(auth: AuthService, email: str) -> Owner:
    return Owner(auth, await auth.register(email))


@pytest.fixture
async def alice(auth: AuthService) -> Owner:
    return await owner_of(auth, EMAIL)


async def test_key_authenticates_its_user(auth: AuthService, alice: Owner) -> None:
    """A new key is shown once, verified by its hash, and listed without the key itself."""
    made = await alice.make(scopes=["transfer", "read"])
    used = await verify(auth, made["key"])
    [listed] = await alice.list()

    assert is_well_formed(made["key"])
    assert {"id", "name", "scopes", "key", "prefix", "created_at", "expires_at"} == set(made)
    assert made["key"].startswith(made["prefix"])
    assert (made["name"], made["scopes"], made["expires_at"]) == ("server", ["read", "transfer"], None)
    assert (made["id"], alice.id, "user") == (used.body["api_key_id"], used.body["user_id"], used.body["role"])
    assert ["read", "transfer"] == used.body["scopes"]
    assert 600 == used.body["seconds"] >= used.body["fresh_seconds"] > 0
    assert made["key"] not in str(listed)
    assert (made["id"], made["prefix"], None) == (listed["id"], listed["prefix"], listed["revoked_at"])
    assert listed["last_used_at"] > listed["created_at"]


async def test_only_its_hash_is_stored(pool: Pool, alice: Owner) -> None:
    """The database has neither the key nor its secret part."""
    key = (await alice.make())["key"]
    stored = "".join(str(dict(row)) for row in await pool.fetch("SELECT * FROM api_keys"))
    audited = "".join(str(dict(row)) for row in await pool.fetch("SELECT * FROM audit_log"))

    assert key.rpartition("_")[2] not in stored + audited
    assert hash_key(key) == await pool.fetchval("SELECT hash FROM api_keys")


async def test_unknown_keys_are_rejected(auth: AuthService, alice: Owner) -> None:
    """An unknown key is 404; for a key that expires soon, the response has the seconds left."""
    soon = (datetime.now(UTC) + timedelta(seconds=60)).isoformat()
    output = await verify(auth, (await alice.make(expires_at=soon))["key"])
    unknown = await verify(auth, new_key().text)

    assert 0 < output.body["seconds"] <= 60
    assert (404, "api_key_not_found") == (unknown.status, unknown.body["code"])


async def test_an_expired_key_is_rejected(auth: AuthService, alice: Owner) -> None:
    """A key expires by the clock of the database; one that would already have expired is not created."""
    made = await alice.make(expires_at=(datetime.now(UTC) + timedelta(seconds=1)).isoformat())

    async with asyncio.timeout(30):
        while (await verify(auth, made["key"])).status == 200:
            await asyncio.sleep(0.05)
    late = await alice.request_key(expires_at=(datetime.now(UTC) - timedelta(seconds=1)).isoformat())

    assert (422, ["expires_at"]) == (late.status, [error["field"] for error in late.body["errors"]])


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"scopes": []}, {"scopes"}),
        ({"scopes": ["read", "read"]}, {"scopes"}),
        ({"scopes": ["everything"]}, {"scopes"}),
        ({"scopes": "read"}, {"scopes"}),
        ({"scopes": [["read"]]}, {"scopes"}),
        ({"name": " "}, {"name"}),
        ({"name": "x" * 101}, {"name"}),
        ({"expires_at": "tomorrow", "name": ""}, {"expires_at", "name"}),
        ({"expires_at": "2030-01-01T00:00:00"}, {"expires_at"}),
        ({"hash": "x"}, {"hash"}),
    ],
)
async def test_invalid_keys_are_not_created(alice: Owner, changes: dict[str, Any], fields: set[str]) -> None:
    """Every invalid field is named at once, and nothing is recorded."""
    response = await alice.request_key(**changes)

    assert (422, fields) == (response.status, {error["field"] for error in response.body["errors"]})
    assert [] == await alice.list()


async def test_only_operators_create_keys_that_operate(auth: AuthService, pool: Pool, alice: Owner) -> None:
    """Only an operator can create a key that operates; a demoted one loses every key and session, in one gapless feed."""
    refused = await alice.request_key(scopes=["operate"])
    await register_operator(auth, pool)
    await commands.users.grant_role(pool, email=EMAIL, role=Role.OPERATOR)
    operating, reading = await alice.make(scopes=["operate"]), await alice.make()
    role = (await verify(auth, operating["key"])).body["role"]
    await commands.users.grant_role(pool, email=EMAIL, role=Role.USER)
    feed = await auth.revocations()

    assert (403, "operator_required") == (refused.status, refused.body["code"])
    assert "operator" == role
    assert [404, 404] == [(await verify(auth, key["key"])).status for key in (operating, reading)]
    assert [1, 2, 3] == [item["seq"] for item in feed["items"]]
    assert {claims_of(alice.session)["sid"], operating["id"], reading["id"]} == {
        item["session_id"] for item in feed["items"]
    }


async def test_disabled_users_have_no_keys(auth: AuthService, pool: Pool, alice: Owner) -> None:
    """A key of a disabled user is rejected, and none can be created, even if session and key were not revoked."""
    made = await alice.make()
    await pool.execute("UPDATE users SET disabled_at = now(), disabled_reason = 'test'")

    assert 404 == (await verify(auth, made["key"])).status
    assert 403 == (await alice.request_key()).status


async def _disable(auth: AuthService, alice: Owner) -> Response:
    body = {"reason": "test", "operator_id": str(new_id())}
    return await auth.call("PUT", f"/internal/users/{alice.id}/disable", body)


async def _end_others(auth: AuthService, alice: Owner) -> Response:
    body = {"user_id": alice.id, "session_id": claims_of(alice.session)["sid"]}
    return await auth.call("POST", "/internal/sessions/end-others", body)


async def _change_password(auth: AuthService, alice: Owner) -> Response:
    body = {"user_id": alice.id, "current_password": "correct horse", "new_password": "another horse"}
    return await auth.call("POST", "/internal/password", body)


@pytest.mark.parametrize("action", [_disable, _end_others, _change_password])
async def test_ending_all_sessions_revokes_keys(
    auth: AuthService, alice: Owner, action: Callable[[AuthService, Owner], Awaitable[Response]]
) -> None:
    """The user may not know which keys an attacker created: all are in the feed; those of other users stay valid."""
    bob = await owner_of(auth, "bob@example.com")
    others, keys = await bob.make(), [await alice.make() for _ in range(2)]

    assert (await action(auth, alice)).status in (200, 204)
    ended = {item["session_id"] for item in (await auth.revocations())["items"]}

    assert {key["id"] for key in keys} <= ended
    assert others["id"] not in ended
    assert [404, 404, 200] == [(await verify(auth, key["key"])).status for key in (*keys, others)]
    assert [] == await alice.list()


async def test_an_ending_session_creates_no_key(auth: AuthService, pool: Pool, alice: Owner) -> None:
    """During a logout no key is created that would outlive it: the request waits, and finds no session."""
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("UPDATE sessions SET revoked_at = now(), reason = 'revoked', seq = 1")
        body = asyncio.create_task(alice.request_key())
        await until_waiting(pool, 1)
        await transaction.commit()

    assert 404 == (await body).status
    assert [] == await alice.list()


async def test_logout_keeps_keys(auth: AuthService, alice: Owner) -> None:
    """The end of a session revokes no key."""
    made = await alice.make()
    await log_out(auth, alice.session)

    assert 200 == (await verify(auth, made["key"])).status


async def test_keys_created_in_a_stolen_session_are_revoked(auth: AuthService, pool: Pool, alice: Owner) -> None:
    """A reused refresh token ends its session and the keys created in it since the token was spent; no others."""
    before = await alice.make()
    other = Owner(auth, (await auth.log_in(EMAIL)).body)
    assert 200 == (await auth.refresh(alice.session["refresh_token"])).status
    since = await alice.make()
    elsewhere = await other.make()
    assert 401 == (await auth.refresh(alice.session["refresh_token"])).status
    feed = [item["session_id"] for item in (await auth.revocations())["items"]]

    assert [claims_of(alice.session)["sid"], since["id"]] == feed
    assert [200, 404, 200] == [(await verify(auth, made["key"])).status for made in (before, since, elsewhere)]
    detail = await pool.fetchval("SELECT detail FROM audit_log WHERE action = 'api_key_revoked'")
    assert ("refresh_reused", since["id"]) == (json.loads(detail)["reason"], json.loads(detail)["api_key_id"])


async def test_a_new_key_is_notified(auth: AuthService, alice: Owner) -> None:
    """The user is notified by e-mail of the prefix and the scopes, never of the key or its name."""
    refused = await alice.request_key(scopes=["operate"])
    made = [await alice.make(name="Dear Alice, call 555", scopes=["transfer", "read"]) for _ in range(2)]
    response = await auth.call("POST", "/internal/emails/claim", {"limit": 50}, by="notification-deliver")
    emails = [email for email in response.body["items"] if email["kind"] == "api_key_created"]

    assert 403 == refused.status
    assert [f"{key['prefix']} read transfer" for key in made] == [email["detail"] for email in emails]
    assert {None} == {email["token"] for email in emails}


async def test_a_session_alone_creates_no_key(auth: AuthService, pool: Pool, alice: Owner) -> None:
    """A stolen access token cannot become a lasting key: the password is required, and the attempt is recorded."""
    refused = [await alice.request_key(password=wrong) for wrong in ("correct horsf", "x")]
    incomplete = await alice.request_key(password=None)
    actions = await pool.fetch("SELECT action, actor_id::text FROM audit_log WHERE action <> 'user_registered'")

    assert [(401, "invalid_credentials")] * 2 == [(each.status, each.body["code"]) for each in refused]
    assert 422 == incomplete.status
    assert [("proof_failed", alice.id)] * 2 == [tuple(action) for action in actions]
    assert [] == await alice.list()


async def test_a_key_requires_the_second_factor(auth: AuthService, pool: Pool) -> None:
    """With a second factor a code is required, once; a refusal for another reason does not spend it."""
    user_id, authenticator, codes = await enable_totp(auth, pool)
    alice = Owner(auth, (await auth.log_in(EMAIL, totp=codes[0])).body)
    assert alice.id == user_id
    without = await alice.request_key()
    wrong = await alice.request_key(totp="000000")
    code = authenticator.code()
    too_late = await alice.request_key(totp=code, expires_at="2020-01-01T00:00:00Z")
    right = await alice.request_key(totp=code)
    again = await alice.request_key(totp=code)

    assert [(401, "totp_required"), (401, "invalid_credentials"), (422, "invalid_request")] == [
        (each.status, each.body["code"]) for each in (without, wrong, too_late)
    ]
    assert [201, 401] == [right.status, again.status]
    assert 1 == len(await alice.list())


async def test_revoked_key_is_in_the_feed(auth: AuthService, alice: Owner) -> None:
    """Sessions and keys are revoked with numbers of one feed without a gap; a revoked key is not listed."""
    first, second = await alice.make(), await alice.make()
    revoked = await alice.revoke(first["id"])
    await log_out(auth, alice.session)
    again = await alice.revoke(second["id"])
    feed = await auth.revocations()

    assert [204, 204] == [revoked.status, again.status]
    assert [(1, first["id"]), (2, claims_of(alice.session)["sid"]), (3, second["id"])] == [
        (item["seq"], item["session_id"]) for item in feed["items"]
    ]
    assert 3 == feed["next"]
    assert [] == await alice.list()
    assert 404 == (await verify(auth, first["key"])).status
    assert [second["id"]] == [item["session_id"] for item in (await auth.revocations(after=2))["items"]]


async def test_another_users_key_looks_unknown(auth: AuthService, alice: Owner) -> None:
    """Foreign, unknown, malformed and revoked: the same 404, and nothing is revoked."""
    made = await alice.make()
    bob = await owner_of(auth, "bob@example.com")
    gone = await alice.make()
    await alice.revoke(gone["id"])
    responses = [await bob.revoke(made["id"]), *[await alice.revoke(id_) for id_ in (str(new_id()), "x", gone["id"])]]

    assert [(404, "api_key_not_found")] * 4 == [(response.status, response.body["code"]) for response in responses]
    assert 200 == (await verify(auth, made["key"])).status
    assert [] == await bob.list()


async def test_keys_are_bounded(auth: AuthService, alice: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Concurrent requests create no more keys than the limit; a revoked key makes room."""
    monkeypatch.setattr(commands.api_keys, "PER_USER_MAX", 5)
    responses = await asyncio.gather(*(alice.request_key() for _ in range(12)))
    refused = [response for response in responses if response.status != 201]
    listed = await alice.list()
    await alice.revoke(listed[0]["id"])

    assert [(409, "api_key_limit_reached")] * 7 == [(response.status, response.body["code"]) for response in refused]
    assert 5 == len(listed)
    assert 201 == (await alice.request_key()).status


async def test_first_use_in_an_hour_is_audited_once(auth: AuthService, pool: Pool, alice: Owner) -> None:
    """Concurrent requests of two gateways add one entry for the key and hour; the next hour has its own."""
    made = await alice.make()
    async with running(pool) as second:
        for _ in range(2):
            responses = await asyncio.gather(*(verify(each, made["key"]) for each in (auth, second) * 10))
            assert {200} == {response.status for response in responses}
        # An hour passes.
        await pool.execute("UPDATE api_keys SET audited_hour = audited_hour - interval '1 hour'")
        await asyncio.gather(*(verify(each, made["key"]) for each in (auth, second) * 10))

    assert 2 == await pool.fetchval("SELECT count(*) FROM audit_log WHERE action = 'api_key_used'")


async def test_actions_on_keys_are_audited(auth: AuthService, pool: Pool, alice: Owner) -> None:
    """Created, first used and revoked: actor, user, key id and request, never the key."""
    made = await alice.make()
    await verify(auth, made["key"])
    await alice.revoke(made["id"])
    rows = await pool.fetch(
        "SELECT action, actor_id::text, user_id::text, detail, request_id FROM audit_log WHERE action LIKE 'api_key%' ORDER BY id"
    )

    assert ["api_key_created", "api_key_used", "api_key_revoked"] == [row["action"] for row in rows]
    assert {(alice.id, alice.id)} == {(row["actor_id"], row["user_id"]) for row in rows}
    assert {made["id"]} == {json.loads(row["detail"])["api_key_id"] for row in rows}
    assert all(row["request_id"] for row in rows)


async def test_use_waits_for_the_revocation(auth: AuthService, pool: Pool, alice: Owner) -> None:
    """A key that is verified while it is being revoked is rejected, after the commit."""
    made = await alice.make()
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.fetch("SELECT 1 FROM api_keys WHERE id = $1 FOR UPDATE", made["id"])
        body = asyncio.create_task(verify(auth, made["key"]))
        await until_waiting(pool, 1)
        await connection.execute(
            "UPDATE api_keys SET revoked_at = clock_timestamp(), reason = 'revoked', seq = 1 WHERE id = $1", made["id"]
        )
        await transaction.commit()

    assert 404 == (await body).status


async def test_a_key_is_verified_again_in_the_next_hour(
    auth: AuthService, pool: Pool, alice: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The response has the seconds left of the hour, so that the next hour has its own entry in the audit log."""
    # Otherwise the ten minutes of a key are usually shorter than the rest of the hour.
    monkeypatch.setattr(schemas, "KEY_REMEMBERED_SECONDS", 7200.0)
    made = await alice.make()
    left = "SELECT extract(epoch FROM date_trunc('hour', now(), 'UTC') + interval '1 hour' - clock_timestamp())::float8"
    while True:
        before = await pool.fetchval(left)
        output = (await verify(auth, made["key"])).body
        after = await pool.fetchval(left)
        if after <= before:
            break

    assert after <= output["fresh_seconds"] <= before
    assert 7200.0 == output["seconds"]


async def test_each_use_updates_the_time_of_use(auth: AuthService, alice: Owner) -> None:
    """An unused key has no time of use; then the list has the latest one."""
    made = await alice.make()
    seen = [(await alice.list())[0]["last_used_at"]]
    for _ in range(2):
        assert 200 == (await verify(auth, made["key"])).status
        seen.append((await alice.list())[0]["last_used_at"])

    assert seen[0] is None
    assert seen[1] < seen[2]
