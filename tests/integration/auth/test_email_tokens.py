"""What the token of an e-mail is good for, how often one is written, and how long one is left to its sender."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import pytest

from services.auth.store.emails import statements
from services.chassis.database import Pool
from tests.harness.databases import TestDatabase
from tests.integration.auth.service import AuthService
from tests.integration.auth.test_letters import (
    ALICE,
    NEW_PASSWORD,
    age,
    claim,
    forget,
    owning,
    reset,
    settle,
    verify,
)


async def written(pool: Pool, kind: str = "reset_password") -> int:
    """How many e-mails of a kind there are."""
    return int(await pool.fetchval("SELECT count(*) FROM letters WHERE kind = $1", kind))


async def tokens_of(auth: AuthService) -> dict[str, str]:
    """The tokens that wait to be sent, by kind."""
    return {letter["kind"]: letter["token"] for letter in await claim(auth)}


async def test_a_token_is_good_for_its_kind_alone(auth: AuthService, pool: Pool) -> None:
    """The unused token of a verification resets no password, that of a reset verifies no address; both still work after it."""
    session = await auth.register(ALICE)
    await forget(auth)
    tokens = await tokens_of(auth)
    crossed = [await reset(auth, tokens["verify_email"]), await verify(auth, tokens["reset_password"])]
    unharmed = [
        (await auth.refresh(session["refresh_token"])).status,
        await pool.fetchval("SELECT email_verified_at IS NULL FROM users"),
        await pool.fetchval("SELECT count(*) FROM letters WHERE ended_at IS NULL"),
    ]
    own = [await verify(auth, tokens["verify_email"]), await reset(auth, tokens["reset_password"])]

    assert [(422, "email_token_invalid")] * 2 == [(answer.status, answer.body["code"]) for answer in crossed]
    assert [200, True, 2] == unharmed
    assert [204, 200] == [answer.status for answer in own]
    assert 200 == (await auth.log_in(ALICE, NEW_PASSWORD)).status


async def test_the_spending_statement_checks_the_kind(auth: AuthService, pool: Pool) -> None:
    """The look-up before a password is hashed and the statement that spends a token each refuse a token of another kind."""
    await auth.register(ALICE)
    token_hash = await pool.fetchval("SELECT token_hash FROM letters")

    for statement in (statements.find_letter_owner, statements.spend_letter):
        assert await pool.fetchval(statement, token_hash, "reset_password") is None
    assert await pool.fetchval(statements.find_letter_owner, token_hash, "verify_email")
    assert await pool.fetchval(statements.spend_letter, token_hash, "verify_email")


async def test_the_spending_statement_checks_the_age(
    auth: AuthService, pool: Pool, auth_database: TestDatabase
) -> None:
    """A token that expired between the look-up and the commit is not spent."""
    await auth.register(ALICE)
    token_hash = await pool.fetchval("SELECT token_hash FROM letters")
    async with owning(auth_database) as owner:
        await owner.execute("UPDATE letters SET expires_at = clock_timestamp()")

    for statement in (statements.find_letter_owner, statements.spend_letter):
        assert await pool.fetchval(statement, token_hash, "verify_email") is None


async def test_a_token_that_does_not_hold_delays_no_other(
    auth: AuthService, pool: Pool, auth_database: TestDatabase
) -> None:
    """After a token was used, and after one has expired, the next e-mail is written at once."""
    await auth.register(ALICE)
    await forget(auth)
    await forget(auth)
    held_back = await written(pool)
    assert 200 == (await reset(auth, (await tokens_of(auth))["reset_password"])).status
    await forget(auth)
    after_use = await written(pool)
    async with owning(auth_database) as owner:
        await owner.execute("UPDATE letters SET expires_at = clock_timestamp()")
    await forget(auth)

    assert [1, 2, 3] == [held_back, after_use, await written(pool)]


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
    """With another one less than a day ago the second waits two minutes; what is older does not count."""
    await auth.register(ALICE)
    await forget(auth)
    assert 200 == (await reset(auth, (await tokens_of(auth))["reset_password"])).status
    await forget(auth)
    async with owning(auth_database) as owner:
        shift = (
            "UPDATE letters SET created_at = created_at - $1::interval WHERE kind = 'reset_password' AND ended_at IS "
        )
        await owner.execute(shift + "NOT NULL", timedelta(hours=earlier_hours))
        # The moment of the look at it is later than this one: an age just below a limit needs room.
        await owner.execute(shift + "NULL", timedelta(seconds=age_seconds if is_written else age_seconds - 20))
    await forget(auth)

    assert 2 + is_written == await written(pool)


async def test_a_lease_is_as_long_as_it_says(auth: AuthService, pool: Pool) -> None:
    """The sender is told 60 seconds and has them; the e-mail is nobody else's before."""
    await auth.register(ALICE)
    before = await now(pool)
    answer = await auth.call("POST", "/internal/letters/claim", {"limit": 50}, by="notification-deliver")
    after = await now(pool)
    until = await pool.fetchval("SELECT claimed_until FROM letters")

    assert (60.0, 1) == (answer.body["lease_seconds"], len(answer.body["items"]))
    assert before + timedelta(seconds=60) <= until <= after + timedelta(seconds=60)
    assert [] == await claim(auth)
    await age(pool, 60)
    assert 1 == len(await claim(auth))


async def test_the_next_attempt_is_when_the_sender_says(auth: AuthService, pool: Pool) -> None:
    """So many seconds later, with one more attempt counted; given back untried it is due at once, and nothing is counted."""
    await auth.register(ALICE)
    [letter] = await claim(auth)
    before = await now(pool)
    await settle(auth, letter, "retried", seconds=300, error="refused: 451")
    after = await now(pool)
    until, attempts = await pool.fetchrow("SELECT claimed_until, attempts FROM letters") or (None, None)
    await age(pool, 300)
    [again] = await claim(auth)
    released = {"ids": [again["id"]]}
    assert 204 == (await auth.call("POST", "/internal/letters/release", released, by="notification-deliver")).status
    [untried] = await claim(auth)
    await settle(auth, untried, "sent")

    assert until is not None
    assert before + timedelta(seconds=300) <= until <= after + timedelta(seconds=300)
    assert (1, 1, 1) == (attempts, again["attempts"], untried["attempts"])
    assert 2 == await pool.fetchval("SELECT attempts FROM letters")


async def test_no_answer_about_a_password_is_quick(auth: AuthService) -> None:
    """Known or not, a request for a reset takes at least a tenth of a second, far longer than its commit."""
    await auth.register(ALICE)
    for email in (ALICE, "nobody@example.com"):
        started = time.monotonic()
        assert 202 == (await forget(auth, email)).status
        assert time.monotonic() - started >= 0.1


async def now(pool: Pool) -> datetime:
    """The time by the clock of the database."""
    moment = await pool.fetchval("SELECT clock_timestamp()")
    assert isinstance(moment, datetime)
    return moment
