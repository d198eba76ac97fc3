"""Letters and their tokens: written with the action, used once, told to nobody but who sends them."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.auth import commands
from services.auth.keyring import Vault, WrongSecret
from services.chassis.database import Pool, close_pool
from services.contracts.identifiers import new_id
from tests.harness.databases import TestDatabase
from tests.integration.auth.service import SECRET, AuthService
from tests.integration.auth.test_sessions import claims_of
from tests.integration.auth.test_totp import turn_on

ALICE = "alice@example.com"
NEW_PASSWORD = "a better password"


async def claim(auth: AuthService, limit: int = 50) -> list[dict[str, Any]]:
    """What the notification service gets to send."""
    answer = await auth.call("POST", "/internal/letters/claim", {"limit": limit}, by="notification-deliver")
    assert 200 == answer.status, answer
    return answer.body["items"]


async def settle(auth: AuthService, letter: dict[str, Any], outcome: str, **more: Any) -> None:
    body = {"id": letter["id"], "outcome": outcome} | more
    answer = await auth.call("POST", "/internal/letters/settle", body, by="notification-deliver")
    assert 204 == answer.status, answer


async def verify(auth: AuthService, token: str) -> Any:
    return await auth.call("POST", "/internal/email/verify", {"token": token})


async def forget(auth: AuthService, email: str = ALICE) -> Any:
    return await auth.call("POST", "/internal/password/forgot", {"email": email})


async def reset(auth: AuthService, token: str, new_password: str = NEW_PASSWORD) -> Any:
    return await auth.call("POST", "/internal/password/reset", {"token": token, "new_password": new_password})


async def reset_letter(auth: AuthService) -> dict[str, Any]:
    """Alice has forgotten her password, and this is the letter she gets."""
    await forget(auth)
    [letter] = [letter for letter in await claim(auth) if letter["kind"] == "reset_password"]
    return letter


@asynccontextmanager
async def owning(made: TestDatabase) -> AsyncIterator[Pool]:
    """As the owner, who may turn back times."""
    owner = await made.pool(made.owner_url)
    yield owner
    await close_pool(owner)


async def age(pool: Pool, seconds: float) -> None:
    """Let every lease and pause be this much older."""
    await pool.execute("UPDATE letters SET claimed_until = claimed_until - make_interval(secs => $1)", seconds)


async def is_verified(pool: Pool) -> bool:
    return bool(await pool.fetchval("SELECT email_verified_at IS NOT NULL FROM users"))


async def actions(pool: Pool) -> list[str]:
    return [row["action"] for row in await pool.fetch("SELECT action FROM audit_log ORDER BY id")]


async def test_registering_writes_a_letter_that_verifies(auth: AuthService, pool: Pool) -> None:
    """The letter of a registration carries a token for 24 hours; with it the address is verified, and everybody sees it."""
    session = await auth.register(ALICE, name="Alice")
    [letter] = await claim(auth)
    life = await pool.fetchval("SELECT extract(epoch FROM expires_at - created_at)::int FROM letters")
    answer = await verify(auth, letter["token"])
    user = (await auth.call("GET", f"/internal/users/{session['user']['id']}")).body

    assert ("verify_email", ALICE, "", 0) == tuple(letter[name] for name in ("kind", "email", "name", "attempts"))
    assert 24 * 3600 == pytest.approx(life, abs=1)
    assert (204, False, True) == (answer.status, session["user"]["email_verified"], user["email_verified"])
    assert (await auth.log_in(ALICE)).body["user"]["email_verified"] is True
    assert ["user_registered", "email_verified", "login_succeeded"] == await actions(pool)


async def test_a_token_is_spent_once(auth: AuthService, pool: Pool) -> None:
    """Of twenty uses at once one succeeds; afterwards, and for anything that never was a token, the answer is the same."""
    await auth.register(ALICE)
    letter = await reset_letter(auth)
    answers = await asyncio.gather(*(reset(auth, letter["token"], f"password number {n}") for n in range(20)))
    refused = [answer for answer in answers if answer.status != 200]
    later = [await reset(auth, letter["token"]), await reset(auth, "x"), await verify(auth, letter["token"])]

    assert 19 == len(refused)
    for answer in [*refused, *later]:
        assert (422, "email_token_invalid") == (answer.status, answer.body["code"])
        assert ["token"] == [error["field"] for error in answer.body["errors"]]
    assert 1 == (await actions(pool)).count("password_reset")


async def test_a_verification_is_spent_once(auth: AuthService, pool: Pool) -> None:
    """The token of a verification works once, too."""
    await auth.register(ALICE)
    [letter] = await claim(auth)
    answers = await asyncio.gather(*(verify(auth, letter["token"]) for _ in range(10)))

    assert [204] + [422] * 9 == sorted(answer.status for answer in answers)
    assert await is_verified(pool)


async def test_a_newer_letter_ends_the_older(auth: AuthService, auth_database: TestDatabase) -> None:
    """Of two letters of a kind only the newer one's token holds; a letter of the other kind is left alone."""
    await auth.register(ALICE)
    [verification] = await claim(auth)
    older = await reset_letter(auth)
    async with owning(auth_database) as owner:
        await owner.execute("UPDATE letters SET created_at = created_at - interval '61 seconds'")
    newer = await reset_letter(auth)

    assert 422 == (await reset(auth, older["token"])).status
    assert 200 == (await reset(auth, newer["token"])).status
    assert 204 == (await verify(auth, verification["token"])).status


async def test_a_token_grows_old(auth: AuthService, pool: Pool, auth_database: TestDatabase) -> None:
    """After its time a token does not hold, and what was never sent is not sent any more."""
    await auth.register(ALICE)
    letter = await reset_letter(auth)
    life = await pool.fetchval(
        "SELECT extract(epoch FROM expires_at - created_at)::int FROM letters WHERE kind = 'reset_password'"
    )
    async with owning(auth_database) as owner:
        await owner.execute("UPDATE letters SET expires_at = clock_timestamp(), claimed_until = clock_timestamp()")
    answer = await reset(auth, letter["token"])
    claimed = await claim(auth)
    left = await pool.fetch("SELECT ended_as, token_sealed FROM letters")

    assert 30 * 60 == pytest.approx(life, abs=1)
    assert (422, []) == (answer.status, claimed)
    assert [("expired", None)] * 2 == [tuple(row) for row in left]


async def test_reset_ends_every_session(auth: AuthService, pool: Pool) -> None:
    """Another password: all sessions end at once and are told of, the old password is wrong, and a second factor stays."""
    sessions = [await auth.register(ALICE), (await auth.log_in(ALICE)).body]
    await pool.execute("UPDATE users SET totp_secret_sealed = 'x', totp_confirmed_at = now(), totp_step = 1")
    answer = await reset(auth, (await reset_letter(auth))["token"])
    feed = [item["session_id"] for item in (await auth.revocations())["items"]]

    assert 200 == answer.status
    assert sorted(claims_of(session)["sid"] for session in sessions) == sorted(answer.body["ended"]) == sorted(feed)
    assert [401, 401] == [(await auth.refresh(session["refresh_token"])).status for session in sessions]
    assert 1 == await pool.fetchval("SELECT count(*) FROM users WHERE totp_confirmed_at IS NOT NULL")
    await pool.execute("UPDATE users SET totp_secret_sealed = NULL, totp_confirmed_at = NULL, totp_step = NULL")
    assert [401, 200] == [(await auth.log_in(ALICE)).status, (await auth.log_in(ALICE, NEW_PASSWORD)).status]


async def test_forgetting_tells_nobody_who_is_known(auth: AuthService, pool: Pool) -> None:
    """Guarantee 50: known, unknown or asked a moment ago: the same answer after the same time; each is in the audit log."""
    await auth.register(ALICE)
    seconds: dict[str, list[float]] = {ALICE: [], "nobody@example.com": []}
    answers = set()
    for email in [*seconds] * 6:
        started = time.monotonic()
        answer = await forget(auth, email)
        seconds[email].append(time.monotonic() - started)
        answers.add((answer.status, str(answer.body)))
    known, unknown = (statistics.median(each) for each in seconds.values())

    assert {(202, "None")} == answers
    assert unknown == pytest.approx(known, rel=0.1)
    assert 12 == (await actions(pool)).count("password_reset_asked")
    assert 1 == await pool.fetchval("SELECT count(*) FROM letters WHERE kind = 'reset_password'")


async def test_asking_again(auth: AuthService, pool: Pool, auth_database: TestDatabase) -> None:
    """A second letter is written when the first is a minute old; who is verified is told so."""
    user_id = (await auth.register(ALICE))["user"]["id"]

    async def ask() -> int:
        return (await auth.call("POST", "/internal/email/verification", {"user_id": user_id})).status

    async def count() -> int:
        return await pool.fetchval("SELECT count(*) FROM letters")

    at_once = await ask(), await count()
    async with owning(auth_database) as owner:
        await owner.execute("UPDATE letters SET created_at = created_at - interval '61 seconds'")
    later = await ask(), await count()
    [letter] = await claim(auth)
    await verify(auth, letter["token"])

    assert [(202, 1), (202, 2)] == [at_once, later]
    assert 409 == await ask()
    assert 404 == (await auth.call("POST", "/internal/email/verification", {"user_id": str(new_id())})).status


async def test_who_is_disabled_gets_and_spends_nothing(auth: AuthService, pool: Pool) -> None:
    """A disabled user's token does not work, and no letter is written to them."""
    await auth.register(ALICE)
    letter = await reset_letter(auth)
    await pool.execute("UPDATE users SET disabled_at = now(), disabled_reason = 'test'")
    answer = await reset(auth, letter["token"])
    await pool.execute("UPDATE letters SET ended_at = now(), ended_as = 'spent', token_sealed = NULL")

    assert (422, 202) == (answer.status, (await forget(auth)).status)
    assert [] == await claim(auth)


async def test_the_token_stands_nowhere(auth: AuthService, pool: Pool) -> None:
    """In the database there is its hash, and a sealed copy that opens for no other letter and goes when the letter is sent."""
    await auth.register(ALICE)
    [letter] = await claim(auth)
    rows = str([dict(row) for row in await pool.fetch("SELECT * FROM letters")] + await actions(pool))
    sealed = await pool.fetchval("SELECT token_sealed FROM letters")
    await settle(auth, letter, "sent")
    after = await pool.fetchrow("SELECT token_sealed, sent_at IS NOT NULL, attempts FROM letters")

    assert letter["token"] not in rows
    assert letter["token"].encode() not in sealed
    with pytest.raises(WrongSecret):
        Vault(SECRET).open_token(sealed, letter_id=new_id())
    assert after is not None
    assert (None, True, 1) == tuple(after)


async def test_claims_are_leases(auth: AuthService, pool: Pool) -> None:
    """A claimed letter is nobody else's until its lease is over or it is given back; a sent one never comes again."""
    for number in range(3):
        await auth.register(f"user{number}@example.com")
    first, second = await asyncio.gather(claim(auth, 2), claim(auth, 2))
    nothing = await claim(auth)
    ids = [letter["id"] for letter in first]
    await auth.call("POST", "/internal/letters/release", {"ids": ids}, by="notification-deliver")
    released = await claim(auth)
    await age(pool, 61)
    again = await claim(auth)
    for letter in again:
        await settle(auth, letter, "sent")
    await age(pool, 61)

    assert 3 == len({letter["id"] for letter in [*first, *second]}) == len(first) + len(second)
    assert [] == nothing
    assert sorted(ids) == sorted(letter["id"] for letter in released)
    assert 3 == len(again)
    assert [] == await claim(auth)


async def test_retried_and_given_up(auth: AuthService, pool: Pool) -> None:
    """A letter that was refused comes again later, with its attempt counted; one that is given up loses its sealed token."""
    await auth.register(ALICE)
    [letter] = await claim(auth)
    await settle(auth, letter, "retried", seconds=30, error="refused: 451")
    early = await claim(auth)
    await age(pool, 31)
    [again] = await claim(auth)
    await settle(auth, again, "failed", error="refused: 550")
    await age(pool, 61)

    assert ([], 1, letter["token"]) == (early, again["attempts"], again["token"])
    assert [] == await claim(auth)
    row = await pool.fetchrow("SELECT attempts, last_error, token_sealed FROM letters")
    assert row is not None
    assert (2, "refused: 550", None) == tuple(row)
    assert 204 == (await verify(auth, letter["token"])).status


async def test_a_letter_that_does_not_open_holds_nobody_up(auth: AuthService, pool: Pool) -> None:
    """One altered row is passed over; the others are sent."""
    await auth.register(ALICE)
    await pool.execute("UPDATE letters SET token_sealed = 'nothing that opens, surely'")
    await auth.register("bob@example.com")

    assert ["bob@example.com"] == [letter["email"] for letter in await claim(auth)]


async def test_only_the_deliver_role_gets_tokens(auth: AuthService) -> None:
    """Nobody else may claim letters, and it may do nothing else with them."""
    await auth.register(ALICE)
    for caller in ("gateway", "notification", "transaction"):
        assert 403 == (await auth.call("POST", "/internal/letters/claim", {"limit": 1}, by=caller)).status
    body = {"token": "x", "new_password": NEW_PASSWORD}
    assert 403 == (await auth.call("POST", "/internal/password/reset", body, by="notification-deliver")).status


async def test_a_wrong_token_costs_no_hash(auth: AuthService, pool: Pool) -> None:
    """Guessing keeps no thread busy: the password is hashed only for a token that holds."""

    class NoHashing:
        async def hash(self, _password: str) -> str:
            raise AssertionError("hashed for nothing")

    with pytest.raises(commands.emails.EmailTokenInvalid):
        await commands.emails.reset_password(
            pool,
            Vault(SECRET),
            NoHashing(),  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            token="x",
            new_password=NEW_PASSWORD,
        )


async def told(auth: AuthService) -> list[dict[str, Any]]:
    """Letters without a token that wait to be sent."""
    return [letter for letter in await claim(auth) if letter["token"] is None]


async def change(auth: AuthService, user_id: str, current: str = "correct horse", new: str = NEW_PASSWORD) -> Any:
    body = {"user_id": user_id, "current_password": current, "new_password": new}
    return await auth.call("POST", "/internal/password", body)


async def test_who_gets_another_password_is_told(auth: AuthService, pool: Pool) -> None:
    """After a change and after a reset the owner is written to, in the commit of the action; a wrong password writes nothing."""
    user_id = (await auth.register(ALICE))["user"]["id"]
    assert 401 == (await change(auth, user_id, "not the password")).status
    nothing = await told(auth)
    assert 200 == (await change(auth, user_id)).status
    changed = await told(auth)
    assert 200 == (await reset(auth, (await reset_letter(auth))["token"], "yet another one")).status
    replaced = await told(auth)
    for letter in [*changed, *replaced]:
        await settle(auth, letter, "sent")
    rows = await pool.fetch("SELECT token_hash, token_sealed FROM letters WHERE kind = 'password_changed'")

    assert [] == nothing
    assert [("password_changed", ALICE, "")] * 2 == [
        (letter["kind"], letter["email"], letter["detail"]) for letter in [*changed, *replaced]
    ]
    assert [(None, None)] * 2 == [tuple(row) for row in rows]


async def test_who_loses_a_second_factor_is_told(auth: AuthService, pool: Pool) -> None:
    """Off, with other recovery codes, or passed by a recovery code: the owner is written to in the commit of the action."""
    user_id, authenticator, codes = await turn_on(auth, pool)
    proof = {"user_id": user_id, "password": "correct horse"}
    wrong = await auth.call("DELETE", "/internal/totp", proof | {"totp": "000000"})
    assert 200 == (await auth.log_in(ALICE, totp=authenticator.code())).status
    nothing = await told(auth)
    assert 200 == (await auth.log_in(ALICE, totp=codes[0])).status
    assert 401 == (await auth.log_in(ALICE, totp=codes[0])).status
    used = await told(auth)
    renewal = proof | {"totp": authenticator.code(1)}
    assert 200 == (await auth.call("POST", "/internal/totp/recovery-codes", renewal)).status
    renewed = await told(auth)
    await pool.execute("UPDATE users SET totp_step = totp_step - 3")
    assert 204 == (await auth.call("DELETE", "/internal/totp", proof | {"totp": authenticator.code()})).status
    removed = await told(auth)

    assert (401, []) == (wrong.status, nothing)
    assert [("recovery_code_used", "9"), ("recovery_codes_renewed", ""), ("totp_removed", "")] == [
        (letter["kind"], letter["detail"]) for letter in [*used, *renewed, *removed]
    ]


async def test_none_is_lost_and_no_mailbox_flooded(auth: AuthService, pool: Pool) -> None:
    """Of letters that only tell none replaces another; after twenty in a day no more are written."""
    user_id = (await auth.register(ALICE))["user"]["id"]
    password = "correct horse"
    for number in range(22):
        assert 200 == (await change(auth, user_id, password, f"password number {number}")).status
        password = f"password number {number}"

    assert 20 == len(await told(auth))
    assert 22 == await pool.fetchval("SELECT count(*) FROM audit_log WHERE action = 'password_changed'")


async def test_another_password_ends_the_letter_that_was_to_replace_it(auth: AuthService, pool: Pool) -> None:
    """Who read the mailbox before the change cannot undo it with an older letter; sent or not, it is worth nothing."""
    user_id = (await auth.register(ALICE))["user"]["id"]
    letter = await reset_letter(auth)
    assert 200 == (await change(auth, user_id)).status

    assert 422 == (await reset(auth, letter["token"], "the thief's one")).status
    assert 200 == (await auth.log_in(ALICE, NEW_PASSWORD)).status
    assert "withdrawn" == await pool.fetchval("SELECT ended_as FROM letters WHERE kind = 'reset_password'")
    assert (
        204
        == (
            await verify(auth, next(x for x in await unsent(auth, pool) if x["kind"] == "verify_email")["token"])
        ).status
    )


async def unsent(auth: AuthService, pool: Pool) -> list[dict[str, Any]]:
    """Letters that wait, whoever has claimed them."""
    await age(pool, 60)
    return await claim(auth)


async def test_a_letter_from_before_does_not_outlive_a_disabling(auth: AuthService) -> None:
    """Enabled again, a user has to ask for another letter: what ended stays ended."""
    user_id = (await auth.register(ALICE))["user"]["id"]
    letter = await reset_letter(auth)
    operator = str(new_id())
    disable = {"operator_id": operator, "reason": "test"}
    assert 200 == (await auth.call("PUT", f"/internal/users/{user_id}/disable", disable)).status
    assert 200 == (await auth.call("DELETE", f"/internal/users/{user_id}/disable", {"operator_id": operator})).status

    assert 422 == (await reset(auth, letter["token"])).status


async def test_a_stranger_is_not_called_what_somebody_chose(auth: AuthService, pool: Pool) -> None:
    """Before an address is verified nobody knows whose it is: letters there do not carry the name; afterwards they do."""
    await auth.register(ALICE, name="You have won: www.example.org")
    [letter] = await claim(auth)
    assert 204 == (await verify(auth, letter["token"])).status

    assert ["", "You have won: www.example.org"] == [letter["name"], (await reset_letter(auth))["name"]]
