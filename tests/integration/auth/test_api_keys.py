"""API keys: made once, kept as a hash, counted, ended through the feed of sessions, and audited."""

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
from tests.integration.auth.service import Answer, AuthService, register_operator, running
from tests.integration.auth.test_sessions import claims_of, log_out
from tests.integration.auth.test_totp import turn_on

EMAIL = "alice@example.com"
PASSWORD = "correct horse"


@dataclass
class Owner:
    """A user with keys."""

    auth: AuthService
    session: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return str(self.session["user"]["id"])

    async def ask(self, **changes: Any) -> Answer:
        session_id = claims_of(self.session)["sid"]
        asked = {"user_id": self.id, "session_id": session_id, "name": "server", "scopes": ["read"]}
        return await self.auth.call("POST", "/internal/api-keys", asked | {"password": PASSWORD} | changes)

    async def make(self, **changes: Any) -> dict[str, Any]:
        answer = await self.ask(**changes)
        assert answer.status == 201, answer
        return dict(answer.body)

    async def list(self) -> list[dict[str, Any]]:
        answer = await self.auth.call("GET", "/internal/api-keys", params={"user_id": self.id})
        return list(answer.body["items"])

    async def revoke(self, key_id: str) -> Answer:
        return await self.auth.call("DELETE", f"/internal/api-keys/{key_id}", params={"user_id": self.id})


async def verify(auth: AuthService, key: str) -> Answer:
    return await auth.call("POST", "/internal/api-keys/verify", {"hash": hash_key(key).hex()})


async def owner_of(auth: AuthService, email: str) -> Owner:
    return Owner(auth, await auth.register(email))


@pytest.fixture
async def alice(auth: AuthService) -> Owner:
    return await owner_of(auth, EMAIL)


async def test_key_speaks_for_its_user(auth: AuthService, alice: Owner) -> None:
    """What is made is shown once, verified by its hash, and listed without it."""
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
    """Nothing in the database contains the key or its secret part."""
    key = (await alice.make())["key"]
    stored = "".join(str(dict(row)) for row in await pool.fetch("SELECT * FROM api_keys"))
    audited = "".join(str(dict(row)) for row in await pool.fetch("SELECT * FROM audit_log"))

    assert key.rpartition("_")[2] not in stored + audited
    assert hash_key(key) == await pool.fetchval("SELECT hash FROM api_keys")


async def test_unknown_keys_are_refused(auth: AuthService, alice: Owner) -> None:
    """A key that never was gets a 404; of one with a short life the rest is told in seconds."""
    soon = (datetime.now(UTC) + timedelta(seconds=60)).isoformat()
    told = await verify(auth, (await alice.make(expires_at=soon))["key"])
    unknown = await verify(auth, new_key().text)

    assert 0 < told.body["seconds"] <= 60
    assert (404, "api_key_not_found") == (unknown.status, unknown.body["code"])


async def test_an_expired_key_is_nobody(auth: AuthService, alice: Owner) -> None:
    """The database's clock ends a key by itself; one that would never live is not made."""
    made = await alice.make(expires_at=(datetime.now(UTC) + timedelta(seconds=1)).isoformat())

    async with asyncio.timeout(30):
        while (await verify(auth, made["key"])).status == 200:
            await asyncio.sleep(0.05)
    late = await alice.ask(expires_at=(datetime.now(UTC) - timedelta(seconds=1)).isoformat())

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
async def test_faulty_keys_are_not_made(alice: Owner, changes: dict[str, Any], fields: set[str]) -> None:
    """Every faulty field is named at once, and nothing is recorded."""
    answer = await alice.ask(**changes)

    assert (422, fields) == (answer.status, {error["field"] for error in answer.body["errors"]})
    assert [] == await alice.list()


async def test_operating_is_for_operators(auth: AuthService, pool: Pool, alice: Owner) -> None:
    """Only an operator makes a key that operates; who is demoted loses every key with the sessions, in one gapless feed."""
    refused = await alice.ask(scopes=["operate"])
    await register_operator(auth, pool)
    await commands.accounts.grant_role(pool, email=EMAIL, role=Role.OPERATOR)
    operating, reading = await alice.make(scopes=["operate"]), await alice.make()
    role = (await verify(auth, operating["key"])).body["role"]
    await commands.accounts.grant_role(pool, email=EMAIL, role=Role.USER)
    feed = await auth.revocations()

    assert (403, "operator_required") == (refused.status, refused.body["code"])
    assert "operator" == role
    assert [404, 404] == [(await verify(auth, key["key"])).status for key in (operating, reading)]
    assert [1, 2, 3] == [item["seq"] for item in feed["items"]]
    assert {claims_of(alice.session)["sid"], operating["id"], reading["id"]} == {
        item["session_id"] for item in feed["items"]
    }


async def test_disabled_users_have_no_keys(auth: AuthService, pool: Pool, alice: Owner) -> None:
    """A key of a disabled user is nobody's, and none can be made, although nobody ended the session and the key."""
    made = await alice.make()
    await pool.execute("UPDATE users SET disabled_at = now(), disabled_reason = 'test'")

    assert 404 == (await verify(auth, made["key"])).status
    assert 403 == (await alice.ask()).status


async def _disable(auth: AuthService, alice: Owner) -> Answer:
    body = {"reason": "test", "operator_id": str(new_id())}
    return await auth.call("PUT", f"/internal/users/{alice.id}/disable", body)


async def _end_others(auth: AuthService, alice: Owner) -> Answer:
    body = {"user_id": alice.id, "session_id": claims_of(alice.session)["sid"]}
    return await auth.call("POST", "/internal/sessions/end-others", body)


async def _change_password(auth: AuthService, alice: Owner) -> Answer:
    body = {"user_id": alice.id, "current_password": "correct horse", "new_password": "another horse"}
    return await auth.call("POST", "/internal/password", body)


@pytest.mark.parametrize("action", [_disable, _end_others, _change_password])
async def test_what_ends_all_sessions_ends_keys(
    auth: AuthService, alice: Owner, action: Callable[[AuthService, Owner], Awaitable[Answer]]
) -> None:
    """Who lost an account need not know which keys were made meanwhile: all are in the feed, another's goes on."""
    bob = await owner_of(auth, "bob@example.com")
    others, keys = await bob.make(), [await alice.make() for _ in range(2)]

    assert (await action(auth, alice)).status in (200, 204)
    ended = {item["session_id"] for item in (await auth.revocations())["items"]}

    assert {key["id"] for key in keys} <= ended
    assert others["id"] not in ended
    assert [404, 404, 200] == [(await verify(auth, key["key"])).status for key in (*keys, others)]
    assert [] == await alice.list()


async def test_an_ending_session_makes_no_key(auth: AuthService, pool: Pool, alice: Owner) -> None:
    """Who is logged out at this moment makes no key that would outlive it: whoever asks waits, and finds no session."""
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("UPDATE sessions SET revoked_at = now(), reason = 'revoked', seq = 1")
        asked = asyncio.create_task(alice.ask())
        await until_waiting(pool, 1)
        await transaction.commit()

    assert 404 == (await asked).status
    assert [] == await alice.list()


async def test_logout_leaves_keys_alone(auth: AuthService, alice: Owner) -> None:
    """A session that ends takes no key with it."""
    made = await alice.make()
    await log_out(auth, alice.session)

    assert 200 == (await verify(auth, made["key"])).status


async def test_what_a_thief_made_ends_with_the_stolen_session(auth: AuthService, pool: Pool, alice: Owner) -> None:
    """A reused refresh token ends its session and the keys made in it since the token was spent, in one feed; no others."""
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


async def test_who_gets_a_key_is_told(auth: AuthService, alice: Owner) -> None:
    """Whoever made a key, its owner is written to: how it begins and what it may do, never the key or its name."""
    refused = await alice.ask(scopes=["operate"])
    made = [await alice.make(name="Dear Alice, call 555", scopes=["transfer", "read"]) for _ in range(2)]
    answer = await auth.call("POST", "/internal/letters/claim", {"limit": 50}, by="notification-deliver")
    letters = [letter for letter in answer.body["items"] if letter["kind"] == "api_key_created"]

    assert 403 == refused.status
    assert [f"{key['prefix']} read transfer" for key in made] == [letter["detail"] for letter in letters]
    assert {None} == {letter["token"] for letter in letters}


async def test_a_session_alone_makes_no_key(auth: AuthService, pool: Pool, alice: Owner) -> None:
    """A stolen access token does not become a lasting key: without the password there is none, and the try is on record."""
    refused = [await alice.ask(password=wrong) for wrong in ("correct horsf", "x")]
    incomplete = await alice.ask(password=None)
    actions = await pool.fetch("SELECT action, actor_id::text FROM audit_log WHERE action <> 'user_registered'")

    assert [(401, "invalid_credentials")] * 2 == [(each.status, each.body["code"]) for each in refused]
    assert 422 == incomplete.status
    assert [("proof_failed", alice.id)] * 2 == [tuple(action) for action in actions]
    assert [] == await alice.list()


async def test_a_key_takes_the_second_factor(auth: AuthService, pool: Pool) -> None:
    """Where one is on, a code is needed as well, once; a refusal for another reason gives it back."""
    user_id, authenticator, codes = await turn_on(auth, pool)
    alice = Owner(auth, (await auth.log_in(EMAIL, totp=codes[0])).body)
    assert alice.id == user_id
    without = await alice.ask()
    wrong = await alice.ask(totp="000000")
    code = authenticator.code()
    too_late = await alice.ask(totp=code, expires_at="2020-01-01T00:00:00Z")
    right = await alice.ask(totp=code)
    again = await alice.ask(totp=code)

    assert [(401, "totp_required"), (401, "invalid_credentials"), (422, "invalid_request")] == [
        (each.status, each.body["code"]) for each in (without, wrong, too_late)
    ]
    assert [201, 401] == [right.status, again.status]
    assert 1 == len(await alice.list())


async def test_revoked_key_is_in_the_feed(auth: AuthService, alice: Owner) -> None:
    """Sessions and keys end under numbers of one feed without a gap; a revoked key is gone from the list."""
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


async def test_another_users_key_is_as_unknown(auth: AuthService, alice: Owner) -> None:
    """Another's, an unknown one, no id at all and one that was revoked: the same 404, and nothing ends."""
    made = await alice.make()
    bob = await owner_of(auth, "bob@example.com")
    gone = await alice.make()
    await alice.revoke(gone["id"])
    answers = [await bob.revoke(made["id"]), *[await alice.revoke(id_) for id_ in (str(new_id()), "x", gone["id"])]]

    assert [(404, "api_key_not_found")] * 4 == [(answer.status, answer.body["code"]) for answer in answers]
    assert 200 == (await verify(auth, made["key"])).status
    assert [] == await bob.list()


async def test_keys_are_bounded(auth: AuthService, alice: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many made at once only as many as one may have exist; a revoked one makes room."""
    monkeypatch.setattr(commands.api_keys, "PER_USER_MAX", 5)
    answers = await asyncio.gather(*(alice.ask() for _ in range(12)))
    refused = [answer for answer in answers if answer.status != 201]
    listed = await alice.list()
    await alice.revoke(listed[0]["id"])

    assert [(409, "api_key_limit_reached")] * 7 == [(answer.status, answer.body["code"]) for answer in refused]
    assert 5 == len(listed)
    assert 201 == (await alice.ask()).status


async def test_first_use_in_an_hour_is_audited_once(auth: AuthService, pool: Pool, alice: Owner) -> None:
    """Two gateways that ask at the same instant leave one entry for the key and the hour; the next hour has its own."""
    made = await alice.make()
    async with running(pool) as second:
        for _ in range(2):
            answers = await asyncio.gather(*(verify(each, made["key"]) for each in (auth, second) * 10))
            assert {200} == {answer.status for answer in answers}
        # An hour passes.
        await pool.execute("UPDATE api_keys SET audited_hour = audited_hour - interval '1 hour'")
        await asyncio.gather(*(verify(each, made["key"]) for each in (auth, second) * 10))

    assert 2 == await pool.fetchval("SELECT count(*) FROM audit_log WHERE action = 'api_key_used'")


async def test_acts_on_keys_are_audited(auth: AuthService, pool: Pool, alice: Owner) -> None:
    """Created, first used and revoked: who, on whom, which key and in which request; never the key."""
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
    """A key that is being ended at this moment is asked about: the answer comes after the end, and is no."""
    made = await alice.make()
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.fetch("SELECT 1 FROM api_keys WHERE id = $1 FOR UPDATE", made["id"])
        asked = asyncio.create_task(verify(auth, made["key"]))
        await until_waiting(pool, 1)
        await connection.execute(
            "UPDATE api_keys SET revoked_at = clock_timestamp(), reason = 'revoked', seq = 1 WHERE id = $1", made["id"]
        )
        await transaction.commit()

    assert 404 == (await asked).status


async def test_a_key_is_asked_about_again_in_the_next_hour(
    auth: AuthService, pool: Pool, alice: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway hears how long an hour still lasts, so that the next hour has its own entry in the audit log."""
    # Else the ten minutes of a key would hide, most of the time, when the hour ends.
    monkeypatch.setattr(schemas, "KEY_REMEMBERED_SECONDS", 7200.0)
    made = await alice.make()
    left = "SELECT extract(epoch FROM date_trunc('hour', now(), 'UTC') + interval '1 hour' - clock_timestamp())::float8"
    while True:
        before = await pool.fetchval(left)
        told = (await verify(auth, made["key"])).body
        after = await pool.fetchval(left)
        if after <= before:
            break

    assert after <= told["fresh_seconds"] <= before
    assert 7200.0 == told["seconds"]


async def test_each_use_moves_the_time_of_the_last_one(auth: AuthService, alice: Owner) -> None:
    """A key that was never used says so; then the list tells of the latest use."""
    made = await alice.make()
    seen = [(await alice.list())[0]["last_used_at"]]
    for _ in range(2):
        assert 200 == (await verify(auth, made["key"])).status
        seen.append((await alice.list())[0]["last_used_at"])

    assert seen[0] is None
    assert seen[1] < seen[2]
