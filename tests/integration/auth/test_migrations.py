"""Migrations of a database that has rows: nothing is lost, and the service works with what was there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest
from alembic import command

from deploy.local.engines import Postgres
from services.auth.keyring import Keyring
from services.auth.rules import emails
from services.auth.rules.known_locations import LocationHasher
from services.chassis import database, migrations
from services.chassis.database import Pool, close_pool
from services.contracts.identifiers import new_id
from tests.integration.auth.service import SECRET, running

ALICE = "alice@example.com"
HOME = "192.0.2.7"
BEFORE = "0009"
"""The last revision with the tables letters and login_places."""

ROWS = """
INSERT INTO users (id, email, name, password_hash) VALUES ($1, 'alice@example.com', 'Alice', '$argon2id$none')
"""
LETTER = """
INSERT INTO letters (id, user_id, kind, token_hash, token_sealed, expires_at, ended_at, ended_as)
VALUES ($1, $2, $3, $4, $5, clock_timestamp() + interval '1 hour', $6, $7)
"""


@pytest.fixture
async def name(postgres: Postgres) -> AsyncIterator[str]:
    """The name of an empty database of the owner of auth."""
    connection = await asyncpg.connect(postgres.dsn("postgres"))
    await connection.execute('CREATE DATABASE "auth_with_rows" OWNER payflow_auth_owner')
    yield "auth_with_rows"
    await connection.execute('DROP DATABASE "auth_with_rows" WITH (FORCE)')
    await connection.close()


async def upgrade(url: str, revision: str) -> None:
    await asyncio.to_thread(command.upgrade, migrations.configure("auth", url), revision)


async def insert_rows(pool: Pool, token: str) -> UUID:
    """A user with a queued e-mail, a superseded one, a known location, an ended session and an entry of the audit log."""
    user_id, email_id = new_id(), new_id()
    await pool.execute(ROWS, user_id)
    sealed = Keyring(SECRET).seal_token(token, email_id=email_id)
    await pool.execute(LETTER, email_id, user_id, "verify_email", emails.hash_token(token), sealed, None, None)
    old, now = emails.hash_token("old"), await pool.fetchval("SELECT clock_timestamp()")
    await pool.execute(LETTER, new_id(), user_id, "reset_password", old, None, now, "overtaken")
    location = LocationHasher(SECRET).hash(ALICE, HOME)
    await pool.execute("INSERT INTO login_places (place, user_id) VALUES ($1, $2)", location, user_id)
    ended = "INSERT INTO sessions (id, user_id, revoked_at, reason, seq) VALUES ($1, $2, now(), 'crowded_out', 1)"
    await pool.execute(ended, new_id(), user_id)
    entry = "INSERT INTO audit_log (id, act, user_id, request_id) VALUES ($1, 'password_reset_asked', $2, 'before')"
    await pool.execute(entry, new_id(), user_id)
    return user_id


async def test_rows_survive_the_renaming_of_tables(postgres: Postgres, name: str) -> None:
    """Rows of revision 0009 are found under the new names, with the same grants; the audit log keeps what was recorded."""
    owner_url, service_url = [postgres.dsn(name, role) for role in ("payflow_auth_owner", "payflow_auth")]
    token = emails.new_token()
    await upgrade(owner_url, BEFORE)
    pool = await database.open_pool(service_url, name="before", size_max=4)
    user_id = await insert_rows(pool, token)
    await close_pool(pool)

    await upgrade(owner_url, "head")

    pool = await database.open_pool(service_url, name="after", size_max=4)
    async with running(pool) as auth:
        known = await auth.call("POST", "/internal/known-locations", {"email": ALICE, "address": HOME})
        claimed = await auth.call("POST", "/internal/emails/claim", {"limit": 9}, by="notification-deliver")
        verified = await auth.call("POST", "/internal/email/verify", {"token": token})
        recorded = await auth.call("GET", "/internal/audit", params={"action": "password_reset_asked"})
    states = await pool.fetch("SELECT kind, ended_as FROM emails ORDER BY kind")
    reasons = await pool.fetch("SELECT reason FROM sessions")
    await close_pool(pool)

    assert {"known": True} == known.body
    assert [("verify_email", token)] == [(item["kind"], item["token"]) for item in claimed.body["items"]]
    assert 204 == verified.status
    assert [("reset_password", "superseded"), ("verify_email", "spent")] == [tuple(row) for row in states]
    assert ["session_limit"] == [row["reason"] for row in reasons]
    assert [str(user_id)] == [entry["user_id"] for entry in recorded.body["items"]]
