"""Sessions that ended long ago are removed; nothing else changes."""

from __future__ import annotations

import asyncpg
import pytest

from services.auth import retention, store
from services.auth.retention import Retention
from services.chassis.database import Pool
from tests.harness.databases import TestDatabase
from tests.integration.auth.service import AuthService
from tests.integration.auth.test_sessions import claims_of

DAYS = 90
EMAIL = "alice@example.com"


async def age(database: TestDatabase, session_id: str, days: int) -> None:
    """Move a session and its tokens into the past."""
    owner = await asyncpg.connect(database.superuser_url)
    past = "make_interval(days => $2)"
    await owner.execute(
        f"UPDATE sessions SET created_at = created_at - {past}, used_at = used_at - {past}, "
        f"revoked_at = revoked_at - {past} WHERE id = $1",
        session_id,
        days,
    )
    await owner.execute(
        f"UPDATE refresh_tokens SET expires_at = expires_at - {past} WHERE session_id = $1", session_id, days
    )
    await owner.close()


async def counts(pool: Pool) -> tuple[int, ...]:
    """What is never removed: the number of the last revocation, and the audit log."""
    return tuple(
        await pool.fetchrow("SELECT (SELECT last FROM revocation_counter), (SELECT count(*) FROM audit_log)") or ()
    )


async def sessions(pool: Pool) -> set[str]:
    return {str(row["id"]) for row in await pool.fetch("SELECT id FROM sessions")}


@pytest.mark.parametrize("rows_max", [1000, 2])
async def test_ended_sessions_are_removed(
    auth: AuthService, pool: Pool, auth_database: TestDatabase, monkeypatch: pytest.MonkeyPatch, rows_max: int
) -> None:
    """Sessions that ended or expired long ago are removed, with passes of any size; other sessions and all records stay."""
    monkeypatch.setattr(retention, "ROWS_MAX", rows_max)
    first = await auth.register(EMAIL)
    user_id = first["user"]["id"]
    logins = [first, *[(await auth.log_in(EMAIL)).body for _ in range(4)]]
    ended, expired, recent, with_key, live = [claims_of(login)["sid"] for login in logins]
    for session_id in (ended, recent, with_key):
        await auth.call("POST", "/internal/logout", {"session_id": session_id, "user_id": user_id})
    owner = await asyncpg.connect(auth_database.superuser_url)
    await owner.execute(
        "INSERT INTO api_keys (id, user_id, name, scopes, prefix, hash, session_id) "
        "VALUES (gen_random_uuid(), $1, 'key', '{read}', 'p', sha256('x'), $2)",
        user_id,
        with_key,
    )
    await owner.close()
    kept = await counts(pool)
    for session_id in (ended, expired, with_key):
        await age(auth_database, session_id, DAYS + 31)
    await age(auth_database, recent, DAYS - 1)
    await age(auth_database, live, 29)

    removing = Retention(pool, days=DAYS)
    while await removing.remove():
        pass

    assert {recent, with_key, live} == await sessions(pool)
    assert kept == await counts(pool)
    assert [401, 401, 401, 401, 200] == [(await auth.refresh(login["refresh_token"])).status for login in logins]


async def test_recent_sessions_cannot_be_removed(auth: AuthService, pool: Pool) -> None:
    """The database refuses it, whatever the settings say."""
    await auth.register(EMAIL)
    await pool.execute("DELETE FROM refresh_tokens")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute("DELETE FROM sessions")


async def test_refresh_beside_a_removal(auth: AuthService, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that is removed between the look-up of its token and its lock: the token is invalid."""
    login = await auth.register(EMAIL)

    async def removed(*_: object) -> None:
        return None

    monkeypatch.setattr(store.sessions, "lock_session", removed)
    assert 401 == (await auth.refresh(login["refresh_token"])).status
