"""E-mails and their tokens: queued in the commit of their cause, spent once, and readable by the sender alone."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.auth import commands
from services.auth.keyring import Keyring, WrongSecret
from services.chassis.database import Pool, close_pool
from services.contracts.identifiers import new_id
from services.contracts.refusals.auth import EmailTokenInvalid
from tests.harness.databases import TestDatabase
from tests.integration.auth.service import SECRET, AuthService
from tests.integration.auth.test_sessions import claims_of
from tests.integration.auth.test_totp import enable_totp

ALICE = "alice@example.com"
NEW_PASSWORD = "a better password"


async def claim(auth: AuthService, limit: int = 50) -> list[dict[str, Any]]:
    """Claim e-mails as the sender."""
    response = await auth.call("POST", "/internal/emails/claim", {"limit": limit}, by="notification-deliver")
    assert 200 == response.status, response
    return response.body["items"]


async def mark(auth: AuthService, email: dict[str, Any], outcome: str, **more: Any) -> None:
    """Record the outcome of an attempt to send an e-mail."""
    body = {"id": email["id"], "outcome": outcome} | more
    response = await auth.call("POST", "/internal/emails/mark", body, by="notification-deliver")
    assert 204 == response.status, response


async def verify(auth: AuthService, token: str) -> Any:
    return await auth.call("POST", "/internal/email/verify", {"token": token})


async def forget(auth: AuthService, email: str = ALICE) -> Any:
    return await auth.call("POST", "/internal/password/forgot", {"email": email})


async def reset(auth: AuthService, token: str, new_password: str = NEW_PASSWORD) -> Any:
    return await auth.call("POST", "/internal/password/reset", {"token": token, "new_password": new_password})


async def reset_email(auth: AuthService) -> dict[str, Any]:
    """Request a password reset for Alice, and claim its e-mail."""
    await forget(auth)
    [email] = [email for email in await claim(auth) if email["kind"] == "reset_password"]
    return email


@asynccontextmanager
async def owner_pool(made: TestDatabase) -> AsyncIterator[Pool]:
    """A pool of the owner, who can change times."""
    owner = await made.pool(made.owner_url)
    yield owner
    await close_pool(owner)


async def age(pool: Pool, seconds: float) -> None:
    """Move every lease back by so many seconds."""
    await pool.execute("UPDATE emails SET claimed_until = claimed_until - make_interval(secs => $1)", seconds)


async def is_verified(pool: Pool) -> bool:
    return bool(await pool.fetchval("SELECT email_verified_at IS NOT NULL FROM users"))


async def actions(pool: Pool) -> list[str]:
    return [row["action"] for row in await pool.fetch("SELECT action FROM audit_log ORDER BY id")]


async def test_registration_sends_a_token_that_verifies_the_address(auth: AuthService, pool: Pool) -> None:
    """The token of a registration is valid for 24 hours and verifies the address, which every response then shows."""
    session = await auth.register(ALICE, name="Alice")
    [email] = await claim(auth)
    life = await pool.fetchval("SELECT extract(epoch FROM expires_at - created_at)::int FROM emails")
    response = await verify(auth, email["token"])
    user = (await auth.call("GET", f"/internal/users/{session['user']['id']}")).body

    assert ("verify_email", ALICE, "", 0) == tuple(email[name] for name in ("kind", "email", "name", "attempts"))
    assert 24 * 3600 == pytest.approx(life, abs=1)
    assert (204, False, True) == (response.status, session["user"]["email_verified"], user["email_verified"])
    assert (await auth.log_in(ALICE)).body["user"]["email_verified"] is True
    assert ["user_registered", "email_verified", "login_succeeded"] == await actions(pool)


async def test_a_token_is_spent_once(auth: AuthService, pool: Pool) -> None:
    """Of twenty concurrent uses one succeeds; later uses, and unknown tokens, get the same response."""
    await auth.register(ALICE)
    email = await reset_email(auth)
    responses = await asyncio.gather(*(reset(auth, email["token"], f"password number {n}") for n in range(20)))
    refused = [response for response in responses if response.status != 200]
    later = [await reset(auth, email["token"]), await reset(auth, "x"), await verify(auth, email["token"])]

    assert 19 == len(refused)
    for response in [*refused, *later]:
        assert (422, "email_token_invalid") == (response.status, response.body["code"])
        assert ["token"] == [error["field"] for error in response.body["errors"]]
    assert 1 == (await actions(pool)).count("password_reset")


async def test_a_verification_is_spent_once(auth: AuthService, pool: Pool) -> None:
    """The token of a verification works once as well."""
    await auth.register(ALICE)
    [email] = await claim(auth)
    responses = await asyncio.gather(*(verify(auth, email["token"]) for _ in range(10)))

    assert [204] + [422] * 9 == sorted(response.status for response in responses)
    assert await is_verified(pool)


async def test_a_newer_email_supersedes_the_older(auth: AuthService, auth_database: TestDatabase) -> None:
    """Of two e-mails of a kind only the token of the newer one is valid; the other kind is not affected."""
    await auth.register(ALICE)
    [verification] = await claim(auth)
    older = await reset_email(auth)
    async with owner_pool(auth_database) as owner:
        await owner.execute("UPDATE emails SET created_at = created_at - interval '61 seconds'")
    newer = await reset_email(auth)

    assert 422 == (await reset(auth, older["token"])).status
    assert 200 == (await reset(auth, newer["token"])).status
    assert 204 == (await verify(auth, verification["token"])).status


async def test_a_token_expires(auth: AuthService, pool: Pool, auth_database: TestDatabase) -> None:
    """An expired token is invalid, and an expired e-mail is not sent."""
    await auth.register(ALICE)
    email = await reset_email(auth)
    life = await pool.fetchval(
        "SELECT extract(epoch FROM expires_at - created_at)::int FROM emails WHERE kind = 'reset_password'"
    )
    async with owner_pool(auth_database) as owner:
        await owner.execute("UPDATE emails SET expires_at = clock_timestamp(), claimed_until = clock_timestamp()")
    response = await reset(auth, email["token"])
    claimed = await claim(auth)
    left = await pool.fetch("SELECT ended_as, token_sealed FROM emails")

    assert 30 * 60 == pytest.approx(life, abs=1)
    assert (422, []) == (response.status, claimed)
    assert [("expired", None)] * 2 == [tuple(row) for row in left]


async def test_reset_ends_every_session(auth: AuthService, pool: Pool) -> None:
    """A reset ends all sessions, lists them in the feed, invalidates the old password, and keeps the second factor."""
    sessions = [await auth.register(ALICE), (await auth.log_in(ALICE)).body]
    await pool.execute("UPDATE users SET totp_secret_sealed = 'x', totp_confirmed_at = now(), totp_step = 1")
    response = await reset(auth, (await reset_email(auth))["token"])
    feed = [item["session_id"] for item in (await auth.revocations())["items"]]

    assert 200 == response.status
    assert sorted(claims_of(session)["sid"] for session in sessions) == sorted(response.body["ended"]) == sorted(feed)
    assert [401, 401] == [(await auth.refresh(session["refresh_token"])).status for session in sessions]
    assert 1 == await pool.fetchval("SELECT count(*) FROM users WHERE totp_confirmed_at IS NOT NULL")
    await pool.execute("UPDATE users SET totp_secret_sealed = NULL, totp_confirmed_at = NULL, totp_step = NULL")
    assert [401, 200] == [(await auth.log_in(ALICE)).status, (await auth.log_in(ALICE, NEW_PASSWORD)).status]


async def test_a_reset_request_does_not_reveal_who_is_registered(auth: AuthService, pool: Pool) -> None:
    """Guarantee 50: registered, unknown or just requested: same response, same time; each request is in the audit log."""
    await auth.register(ALICE)
    seconds: dict[str, list[float]] = {ALICE: [], "unknown@example.com": []}
    responses = set()
    for email in [*seconds] * 6:
        started = time.monotonic()
        response = await forget(auth, email)
        seconds[email].append(time.monotonic() - started)
        responses.add((response.status, str(response.body)))
    known, unknown = (statistics.median(each) for each in seconds.values())

    assert {(202, "None")} == responses
    assert unknown == pytest.approx(known, rel=0.1)
    assert 12 == (await actions(pool)).count("password_reset_requested")
    assert 1 == await pool.fetchval("SELECT count(*) FROM emails WHERE kind = 'reset_password'")


async def test_requesting_another_verification(auth: AuthService, pool: Pool, auth_database: TestDatabase) -> None:
    """A second e-mail is queued once the first is a minute old; a verified user gets 409."""
    user_id = (await auth.register(ALICE))["user"]["id"]

    async def ask() -> int:
        return (await auth.call("POST", "/internal/email/verification", {"user_id": user_id})).status

    async def count() -> int:
        return await pool.fetchval("SELECT count(*) FROM emails")

    at_once = await ask(), await count()
    async with owner_pool(auth_database) as owner:
        await owner.execute("UPDATE emails SET created_at = created_at - interval '61 seconds'")
    later = await ask(), await count()
    [email] = await claim(auth)
    await verify(auth, email["token"])

    assert [(202, 1), (202, 2)] == [at_once, later]
    assert 409 == await ask()
    assert 404 == (await auth.call("POST", "/internal/email/verification", {"user_id": str(new_id())})).status


async def test_a_disabled_user_gets_no_email_and_spends_no_token(auth: AuthService, pool: Pool) -> None:
    """The token of a disabled user is invalid, and no e-mail is queued for them."""
    await auth.register(ALICE)
    email = await reset_email(auth)
    await pool.execute("UPDATE users SET disabled_at = now(), disabled_reason = 'test'")
    response = await reset(auth, email["token"])
    await pool.execute("UPDATE emails SET ended_at = now(), ended_as = 'spent', token_sealed = NULL")

    assert (422, 202) == (response.status, (await forget(auth)).status)
    assert [] == await claim(auth)


async def test_the_token_is_not_stored(auth: AuthService, pool: Pool) -> None:
    """The database has its hash, and a sealed copy that is bound to its e-mail and erased once the e-mail is sent."""
    await auth.register(ALICE)
    [email] = await claim(auth)
    rows = str([dict(row) for row in await pool.fetch("SELECT * FROM emails")] + await actions(pool))
    sealed = await pool.fetchval("SELECT token_sealed FROM emails")
    await mark(auth, email, "sent")
    after = await pool.fetchrow("SELECT token_sealed, sent_at IS NOT NULL, attempts FROM emails")

    assert email["token"] not in rows
    assert email["token"].encode() not in sealed
    with pytest.raises(WrongSecret):
        Keyring(SECRET).open_token(sealed, email_id=new_id())
    assert after is not None
    assert (None, True, 1) == tuple(after)


async def test_claims_are_leases(auth: AuthService, pool: Pool) -> None:
    """No other caller gets a claimed e-mail before its lease ends or it is released; a sent one is never claimed again."""
    for number in range(3):
        await auth.register(f"user{number}@example.com")
    first, second = await asyncio.gather(claim(auth, 2), claim(auth, 2))
    nothing = await claim(auth)
    ids = [email["id"] for email in first]
    await auth.call("POST", "/internal/emails/release", {"ids": ids}, by="notification-deliver")
    released = await claim(auth)
    await age(pool, 61)
    again = await claim(auth)
    for email in again:
        await mark(auth, email, "sent")
    await age(pool, 61)

    assert 3 == len({email["id"] for email in [*first, *second]}) == len(first) + len(second)
    assert [] == nothing
    assert sorted(ids) == sorted(email["id"] for email in released)
    assert 3 == len(again)
    assert [] == await claim(auth)


async def test_retried_and_abandoned(auth: AuthService, pool: Pool) -> None:
    """A rejected e-mail is due again later, with its attempt counted; an abandoned one loses its sealed token."""
    await auth.register(ALICE)
    [email] = await claim(auth)
    await mark(auth, email, "retried", seconds=30, error="refused: 451")
    early = await claim(auth)
    await age(pool, 31)
    [again] = await claim(auth)
    await mark(auth, again, "failed", error="refused: 550")
    await age(pool, 61)

    assert ([], 1, email["token"]) == (early, again["attempts"], again["token"])
    assert [] == await claim(auth)
    row = await pool.fetchrow("SELECT attempts, last_error, token_sealed FROM emails")
    assert row is not None
    assert (2, "refused: 550", None) == tuple(row)
    assert 204 == (await verify(auth, email["token"])).status


async def test_an_email_that_cannot_be_opened_delays_no_other(auth: AuthService, pool: Pool) -> None:
    """An altered row is skipped; other e-mails are sent."""
    await auth.register(ALICE)
    await pool.execute("UPDATE emails SET token_sealed = 'nothing that opens, surely'")
    await auth.register("bob@example.com")

    assert ["bob@example.com"] == [email["email"] for email in await claim(auth)]


async def test_only_the_deliver_role_gets_tokens(auth: AuthService) -> None:
    """Only the deliver role can claim e-mails, and it can do nothing else with them."""
    await auth.register(ALICE)
    for caller in ("gateway", "notification", "transaction"):
        assert 403 == (await auth.call("POST", "/internal/emails/claim", {"limit": 1}, by=caller)).status
    body = {"token": "x", "new_password": NEW_PASSWORD}
    assert 403 == (await auth.call("POST", "/internal/password/reset", body, by="notification-deliver")).status


async def test_a_wrong_token_costs_no_hash(auth: AuthService, pool: Pool) -> None:
    """A password is hashed only for a valid token, so guessing tokens keeps no thread busy."""

    class NoHashing:
        async def hash(self, _password: str) -> str:
            raise AssertionError("hashed for nothing")

    with pytest.raises(EmailTokenInvalid):
        await commands.emails.reset_password(
            pool,
            Keyring(SECRET),
            NoHashing(),  # type: ignore[arg-type]
            wakeup=None,  # type: ignore[arg-type]
            token="x",
            new_password=NEW_PASSWORD,
        )


async def security_emails(auth: AuthService) -> list[dict[str, Any]]:
    """Claim e-mails, and return those without a token."""
    return [email for email in await claim(auth) if email["token"] is None]


async def change(auth: AuthService, user_id: str, current: str = "correct horse", new: str = NEW_PASSWORD) -> Any:
    body = {"user_id": user_id, "current_password": current, "new_password": new}
    return await auth.call("POST", "/internal/password", body)


async def test_a_new_password_is_notified(auth: AuthService, pool: Pool) -> None:
    """A change and a reset notify the user by e-mail in their commit; a wrong password queues nothing."""
    user_id = (await auth.register(ALICE))["user"]["id"]
    assert 401 == (await change(auth, user_id, "not the password")).status
    nothing = await security_emails(auth)
    assert 200 == (await change(auth, user_id)).status
    changed = await security_emails(auth)
    assert 200 == (await reset(auth, (await reset_email(auth))["token"], "yet another one")).status
    replaced = await security_emails(auth)
    for email in [*changed, *replaced]:
        await mark(auth, email, "sent")
    rows = await pool.fetch("SELECT token_hash, token_sealed FROM emails WHERE kind = 'password_changed'")

    assert [] == nothing
    assert [("password_changed", ALICE, "")] * 2 == [
        (email["kind"], email["email"], email["detail"]) for email in [*changed, *replaced]
    ]
    assert [(None, None)] * 2 == [tuple(row) for row in rows]


async def test_changes_of_the_second_factor_are_notified(auth: AuthService, pool: Pool) -> None:
    """Removal, new recovery codes, and the use of one: the user is notified by e-mail in the commit of each."""
    user_id, authenticator, codes = await enable_totp(auth, pool)
    proof = {"user_id": user_id, "password": "correct horse"}
    wrong = await auth.call("DELETE", "/internal/totp", proof | {"totp": "000000"})
    assert 200 == (await auth.log_in(ALICE, totp=authenticator.code())).status
    nothing = await security_emails(auth)
    assert 200 == (await auth.log_in(ALICE, totp=codes[0])).status
    assert 401 == (await auth.log_in(ALICE, totp=codes[0])).status
    used = await security_emails(auth)
    renewal = proof | {"totp": authenticator.code(1)}
    assert 200 == (await auth.call("POST", "/internal/totp/recovery-codes", renewal)).status
    renewed = await security_emails(auth)
    await pool.execute("UPDATE users SET totp_step = totp_step - 3")
    assert 204 == (await auth.call("DELETE", "/internal/totp", proof | {"totp": authenticator.code()})).status
    removed = await security_emails(auth)

    assert (401, []) == (wrong.status, nothing)
    assert [("recovery_code_used", "9"), ("recovery_codes_renewed", ""), ("totp_removed", "")] == [
        (email["kind"], email["detail"]) for email in [*used, *renewed, *removed]
    ]


async def test_security_emails_are_limited(auth: AuthService, pool: Pool) -> None:
    """Security e-mails do not supersede each other; after twenty in a day no more are queued."""
    user_id = (await auth.register(ALICE))["user"]["id"]
    password = "correct horse"
    for number in range(22):
        assert 200 == (await change(auth, user_id, password, f"password number {number}")).status
        password = f"password number {number}"

    assert 20 == len(await security_emails(auth))
    assert 22 == await pool.fetchval("SELECT count(*) FROM audit_log WHERE action = 'password_changed'")


async def test_a_password_change_withdraws_the_reset_token(auth: AuthService, pool: Pool) -> None:
    """An attacker with access to the mailbox cannot undo the change with an earlier reset e-mail, sent or not."""
    user_id = (await auth.register(ALICE))["user"]["id"]
    email = await reset_email(auth)
    assert 200 == (await change(auth, user_id)).status

    assert 422 == (await reset(auth, email["token"], "the thief's one")).status
    assert 200 == (await auth.log_in(ALICE, NEW_PASSWORD)).status
    assert "withdrawn" == await pool.fetchval("SELECT ended_as FROM emails WHERE kind = 'reset_password'")
    assert (
        204
        == (
            await verify(auth, next(x for x in await unsent(auth, pool) if x["kind"] == "verify_email")["token"])
        ).status
    )


async def unsent(auth: AuthService, pool: Pool) -> list[dict[str, Any]]:
    """Queued e-mails, including claimed ones."""
    await age(pool, 60)
    return await claim(auth)


async def test_disabling_withdraws_the_reset_token(auth: AuthService) -> None:
    """An enabled user has to request a new reset: the earlier token stays invalid."""
    user_id = (await auth.register(ALICE))["user"]["id"]
    email = await reset_email(auth)
    operator = str(new_id())
    disable = {"operator_id": operator, "reason": "test"}
    assert 200 == (await auth.call("PUT", f"/internal/users/{user_id}/disable", disable)).status
    assert 200 == (await auth.call("DELETE", f"/internal/users/{user_id}/disable", {"operator_id": operator})).status

    assert 422 == (await reset(auth, email["token"])).status


async def test_an_unverified_address_is_not_sent_the_name(auth: AuthService, pool: Pool) -> None:
    """Anyone can register an address, so e-mails contain the name only once the address is verified."""
    await auth.register(ALICE, name="You have won: www.example.org")
    [email] = await claim(auth)
    assert 204 == (await verify(auth, email["token"])).status

    assert ["", "You have won: www.example.org"] == [email["name"], (await reset_email(auth))["name"]]
