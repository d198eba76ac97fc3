"""What the token of an e-mail is valid for, how often an e-mail is queued, and how long it is leased."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import pytest

from services.auth.store.emails import statements
from services.chassis.database import Pool
from tests.harness.databases import TestDatabase
from tests.integration.auth.service import AuthService
from tests.integration.auth.test_emails import (
    ALICE,
    NEW_PASSWORD,
    age,
    claim,
    forget,
    mark,
    owner_pool,
    reset,
    verify,
)


async def count_emails(pool: Pool, kind: str = "reset_password") -> int:
    """Count e-mails of a kind."""
    return int(await pool.fetchval("SELECT count(*) FROM emails WHERE kind = $1", kind))


async def tokens_of(auth: AuthService) -> dict[str, str]:
    """The tokens of due e-mails, by kind."""
    return {email["kind"]: email["token"] for email in await claim(auth)}


async def test_a_token_is_valid_for_its_kind_alone(auth: AuthService, pool: Pool) -> None:
    """A verification token resets no password, a reset token verifies no address; both stay valid after the attempt."""
    session = await auth.register(ALICE)
    await forget(auth)
    tokens = await tokens_of(auth)
    crossed = [await reset(auth, tokens["verify_email"]), await verify(auth, tokens["reset_password"])]
    unharmed = [
        (await auth.refresh(session["refresh_token"])).status,
        await pool.fetchval("SELECT email_verified_at IS NULL FROM users"),
        await pool.fetchval("SELECT count(*) FROM emails WHERE ended_at IS NULL"),
    ]
    own = [await verify(auth, tokens["verify_email"]), await reset(auth, tokens["reset_password"])]

    assert [(422, "email_token_invalid")] * 2 == [(response.status, response.body["code"]) for response in crossed]
    assert [200, True, 2] == unharmed
    assert [204, 200] == [response.status for response in own]
    assert 200 == (await auth.log_in(ALICE, NEW_PASSWORD)).status


async def test_the_spending_statement_checks_the_kind(auth: AuthService, pool: Pool) -> None:
    """The look-up before hashing and the spending statement both reject a token of another kind."""
    await auth.register(ALICE)
    token_hash = await pool.fetchval("SELECT token_hash FROM emails")

    for statement in (statements.find_token_owner, statements.spend_token):
        assert await pool.fetchval(statement, token_hash, "reset_password") is None
    assert await pool.fetchval(statements.find_token_owner, token_hash, "verify_email")
    assert await pool.fetchval(statements.spend_token, token_hash, "verify_email")


async def test_the_spending_statement_checks_the_age(
    auth: AuthService, pool: Pool, auth_database: TestDatabase
) -> None:
    """A token that expires between the look-up and the commit is not spent."""
    await auth.register(ALICE)
    token_hash = await pool.fetchval("SELECT token_hash FROM emails")
    async with owner_pool(auth_database) as owner:
        await owner.execute("UPDATE emails SET expires_at = clock_timestamp()")

    for statement in (statements.find_token_owner, statements.spend_token):
        assert await pool.fetchval(statement, token_hash, "verify_email") is None


async def test_an_invalid_token_delays_no_email(auth: AuthService, pool: Pool, auth_database: TestDatabase) -> None:
    """After a token was spent or has expired, the next e-mail is queued at once."""
    await auth.register(ALICE)
    await forget(auth)
    await forget(auth)
    held_back = await count_emails(pool)
    assert 200 == (await reset(auth, (await tokens_of(auth))["reset_password"])).status
    await forget(auth)
    after_use = await count_emails(pool)
    async with owner_pool(auth_database) as owner:
        await owner.execute("UPDATE emails SET expires_at = clock_timestamp()")
    await forget(auth)

    assert [1, 2, 3] == [held_back, after_use, await count_emails(pool)]


@pytest.mark.parametrize(
    ("earlier_hours", "age_seconds", "is_written"),
    [(23, 119, False), (23, 121, True), (25, 59, False), (25, 61, True)],
)
async def test_the_pause_grows_with_the_e_mails_of_a_day(
    auth: AuthService,
    pool: Pool,
    auth_database: TestDatabase,
    *,
    earlier_hours: int,
    age_seconds: int,
    is_written: bool,
) -> None:
    """With another e-mail within a day the second waits two minutes; older ones do not count."""
    await auth.register(ALICE)
    await forget(auth)
    assert 200 == (await reset(auth, (await tokens_of(auth))["reset_password"])).status
    await forget(auth)
    async with owner_pool(auth_database) as owner:
        shift = (
            "UPDATE emails SET created_at = created_at - $1::interval WHERE kind = 'reset_password' AND ended_at IS "
        )
        await owner.execute(shift + "NOT NULL", timedelta(hours=earlier_hours))
        # The look-up is later than this statement: an age just below a limit needs a margin.
        await owner.execute(shift + "NULL", timedelta(seconds=age_seconds if is_written else age_seconds - 20))
    await forget(auth)

    assert 2 + is_written == await count_emails(pool)


async def test_a_lease_is_as_long_as_stated(auth: AuthService, pool: Pool) -> None:
    """The response states 60 seconds, and no other caller gets the e-mail before."""
    await auth.register(ALICE)
    before = await now(pool)
    response = await auth.call("POST", "/internal/emails/claim", {"limit": 50}, by="notification-deliver")
    after = await now(pool)
    until = await pool.fetchval("SELECT claimed_until FROM emails")

    assert (60.0, 1) == (response.body["lease_seconds"], len(response.body["items"]))
    assert before + timedelta(seconds=60) <= until <= after + timedelta(seconds=60)
    assert [] == await claim(auth)
    await age(pool, 60)
    assert 1 == len(await claim(auth))


async def test_the_next_attempt_is_when_the_sender_requests(auth: AuthService, pool: Pool) -> None:
    """Due again after the requested seconds, with one attempt more; released unsent it is due at once, with none more."""
    await auth.register(ALICE)
    [email] = await claim(auth)
    before = await now(pool)
    await mark(auth, email, "retried", seconds=300, error="refused: 451")
    after = await now(pool)
    until, attempts = await pool.fetchrow("SELECT claimed_until, attempts FROM emails") or (None, None)
    await age(pool, 300)
    [again] = await claim(auth)
    released = {"ids": [again["id"]]}
    assert 204 == (await auth.call("POST", "/internal/emails/release", released, by="notification-deliver")).status
    [untried] = await claim(auth)
    await mark(auth, untried, "sent")

    assert until is not None
    assert before + timedelta(seconds=300) <= until <= after + timedelta(seconds=300)
    assert (1, 1, 1) == (attempts, again["attempts"], untried["attempts"])
    assert 2 == await pool.fetchval("SELECT attempts FROM emails")


async def test_a_reset_request_has_a_minimum_duration(auth: AuthService) -> None:
    """A reset request takes at least a tenth of a second, registered or not: far longer than its commit."""
    await auth.register(ALICE)
    for email in (ALICE, "unknown@example.com"):
        started = time.monotonic()
        assert 202 == (await forget(auth, email)).status
        assert time.monotonic() - started >= 0.1


async def now(pool: Pool) -> datetime:
    """The time of the database."""
    moment = await pool.fetchval("SELECT clock_timestamp()")
    assert isinstance(moment, datetime)
    return moment
