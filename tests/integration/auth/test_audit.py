"""The audit log: written in the commit of the action, append-only; and the privileges of the service role."""

from __future__ import annotations

import json

import asyncpg
import pytest

from services.auth import commands
from services.auth.rules.user import Role
from services.chassis.database import Pool, close_pool
from tests.harness.databases import TestDatabase
from tests.integration.auth.service import AuthService, register_operator
from tests.integration.auth.test_sessions import claims_of, log_out


async def test_every_action_is_recorded_with_actor_and_request(auth: AuthService, pool: Pool) -> None:
    """Register, login, failed login, reuse, logout and grant each add one row with actor and request id."""
    first = await auth.register("alice@example.com")
    user_id = first["user"]["id"]
    body = {"email": "alice@example.com", "password": "correct horse"}
    headers = {"X-Request-Id": "the-request-1"}
    second = (await auth.call("POST", "/internal/login", body, headers=headers)).body
    await auth.call("POST", "/internal/login", body | {"password": "wrong"}, headers=headers)
    await auth.call("POST", "/internal/login", body | {"email": "unknown@example.com"}, headers=headers)
    await auth.refresh(first["refresh_token"])
    await auth.refresh(first["refresh_token"])
    await auth.refresh(first["refresh_token"])
    await log_out(auth, second)
    await log_out(auth, second)
    await commands.users.grant_role(pool, email="alice@example.com", role=Role.OPERATOR)
    rows = await pool.fetch(
        "SELECT action, actor_id::text, user_id::text, detail, request_id FROM audit_log ORDER BY id"
    )

    assert [
        ("user_registered", user_id, user_id),
        ("login_succeeded", user_id, user_id),
        ("login_failed", None, user_id),
        ("login_failed", None, None),
        ("refresh_reused", None, user_id),
        ("logged_out", user_id, user_id),
        ("role_granted", None, user_id),
    ] == [(row["action"], row["actor_id"], row["user_id"]) for row in rows]
    assert [row["request_id"] for row in rows[1:4]] == ["the-request-1"] * 3
    assert all(row["request_id"] for row in rows)
    assert {"session_id": claims_of(second)["sid"]} == json.loads(rows[5]["detail"])
    assert json.loads(rows[6]["detail"]) == {"from": "user", "to": "operator", "by": "command line"}
    assert "example.com" not in str(rows)


async def test_audit_log_is_append_only(auth: AuthService, pool: Pool, auth_database: TestDatabase) -> None:
    """Neither the service nor the owner can change or remove a row; the service lacks the privilege to try."""
    await auth.register("alice@example.com")
    owner, superuser = [await auth_database.pool(url) for url in (auth_database.owner_url, auth_database.superuser_url)]
    for statement in ("UPDATE audit_log SET action = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute(statement)
        for other in (owner, superuser):
            with pytest.raises(asyncpg.RestrictViolationError):
                await other.execute(statement)
    await close_pool(owner)
    await close_pool(superuser)

    assert await pool.fetchval("SELECT count(*) FROM audit_log WHERE action = 'user_registered'") == 1


FORBIDDEN = [
    "DELETE FROM users",
    "UPDATE users SET email = 'eve@example.com'",
    "UPDATE sessions SET user_id = user_id",
    "DELETE FROM revocation_counter",
    "INSERT INTO revocation_counter (last, only_row) VALUES (0, false)",
    "UPDATE refresh_tokens SET expires_at = 'infinity'",
    "UPDATE signing_keys SET public_key = public_key",
    "DELETE FROM signing_keys",
    "ALTER TABLE audit_log DISABLE TRIGGER ALL",
    "CREATE TABLE mine ()",
]


async def test_service_role_has_only_what_it_needs(pool: Pool) -> None:
    """The database denies the service what no command does."""
    for statement in FORBIDDEN:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute(statement)


async def test_removing_a_role_ends_the_sessions_of_the_user(auth: AuthService, pool: Pool) -> None:
    """Gaining a role keeps sessions; losing one ends every session of the user, in the feed as well."""
    first = await auth.register("alice@example.com")
    other = await auth.register("bob@example.com")
    await register_operator(auth, pool)
    promoted = await commands.users.grant_role(pool, email=" ALICE@example.com", role=Role.OPERATOR)
    still = await auth.refresh(first["refresh_token"])
    await auth.log_in("alice@example.com")
    demoted = await commands.users.grant_role(pool, email="alice@example.com", role=Role.USER)

    assert (promoted.before, promoted.sessions_ended) == (Role.USER, 0)
    assert still.status == 200
    assert (demoted.before, demoted.sessions_ended) == (Role.OPERATOR, 2)
    assert (await auth.refresh(still.body["refresh_token"])).status == 401
    assert [item["seq"] for item in (await auth.revocations())["items"]] == [1, 2]
    assert (await auth.refresh(other["refresh_token"])).status == 200
