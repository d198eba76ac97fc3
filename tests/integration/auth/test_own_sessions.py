"""List sessions, end one or all others, and change the password, which ends them all."""

from __future__ import annotations

import asyncio

import pytest

from services.auth import commands
from services.auth.keyring import Keyring
from services.auth.passwords import Hashing
from services.auth.wakeup import Wakeup
from services.chassis.database import Pool
from services.contracts.identifiers import new_id
from services.contracts.refusals.auth import InvalidCredentials
from tests.integration.auth.service import QUICK, SECRET, AuthService, Response, running
from tests.integration.auth.test_sessions import CountingWakeup, claims_of

EMAIL = "alice@example.com"


async def listed(auth: AuthService, user_id: str, **params: str) -> Response:
    return await auth.call("GET", f"/internal/users/{user_id}/sessions", params=params)


async def change(auth: AuthService, user_id: str, current: str, new: str, **more: str) -> Response:
    body = {"user_id": user_id, "current_password": current, "new_password": new}
    return await auth.call("POST", "/internal/password", body | more)


async def test_live_sessions_are_listed(auth: AuthService, pool: Pool) -> None:
    """Newest first, with the user agent, in pages; without ended and expired ones and those of other users."""
    first = await auth.register(EMAIL)
    user_id = first["user"]["id"]
    await auth.register("bob@example.com")
    others = [(await auth.log_in(EMAIL, user_agent=f"agent {number}")).body for number in range(4)]
    opened = [claims_of(each)["sid"] for each in (first, *others)]
    ended, expired = opened[1], opened[2]
    await auth.call("POST", "/internal/logout", {"session_id": ended, "user_id": user_id})
    await pool.execute("DELETE FROM refresh_tokens WHERE session_id = $1", expired)
    page = await listed(auth, user_id, limit="2")
    rest = await listed(auth, user_id, limit="2", cursor=page.body["next_cursor"])

    assert [opened[4], opened[3]] == [item["id"] for item in page.body["items"]]
    assert ["agent 3", "agent 2"] == [item["user_agent"] for item in page.body["items"]]
    assert ([opened[0]], None) == ([item["id"] for item in rest.body["items"]], rest.body["next_cursor"])
    assert 422 == (await listed(auth, user_id, cursor="x")).status


async def test_one_session_ends(auth: AuthService) -> None:
    """A session of the user ends at once and is in the feed; foreign, unknown and ended ones get the same 404."""
    alice, bob = await auth.register(EMAIL), await auth.register("bob@example.com")
    user_id, session_id = alice["user"]["id"], claims_of(alice)["sid"]
    ended = await auth.call("POST", "/internal/sessions/end", {"user_id": user_id, "session_id": session_id})
    others = [
        await auth.call("POST", "/internal/sessions/end", {"user_id": user_id, "session_id": each})
        for each in (claims_of(bob)["sid"], str(new_id()), session_id)
    ]

    assert 204 == ended.status
    assert [session_id] == [item["session_id"] for item in (await auth.revocations())["items"]]
    assert 401 == (await auth.refresh(alice["refresh_token"])).status
    assert [404] * 3 == [response.status for response in others]
    assert 1 == len({str(response.body | {"request_id": ""}) for response in others})
    assert 200 == (await auth.refresh(bob["refresh_token"])).status


async def test_all_other_sessions_end(auth: AuthService) -> None:
    """Every session of the user except the calling one ends in one commit."""
    first = await auth.register(EMAIL)
    others = [(await auth.log_in(EMAIL)).body for _ in range(3)]
    bob = await auth.register("bob@example.com")
    body = {"user_id": first["user"]["id"], "session_id": claims_of(first)["sid"]}

    assert 204 == (await auth.call("POST", "/internal/sessions/end-others", body)).status
    assert {claims_of(other)["sid"] for other in others} == {
        item["session_id"] for item in (await auth.revocations())["items"]
    }
    assert [401] * 3 == [(await auth.refresh(other["refresh_token"])).status for other in others]
    assert 200 == (await auth.refresh(first["refresh_token"])).status
    assert 200 == (await auth.refresh(bob["refresh_token"])).status


async def test_an_ended_session_ends_no_others(auth: AuthService, pool: Pool) -> None:
    """An attacker whose session was just ended cannot end the session of the user, also if the gateway does not know yet."""
    first = await auth.register(EMAIL)
    thief = (await auth.log_in(EMAIL)).body
    ids = {"user_id": first["user"]["id"], "session_id": claims_of(thief)["sid"]}
    assert 204 == (await auth.call("POST", "/internal/sessions/end", ids)).status
    response = await auth.call("POST", "/internal/sessions/end-others", ids)

    assert 404 == response.status
    assert 200 == (await auth.refresh(first["refresh_token"])).status
    assert 0 == await pool.fetchval("SELECT count(*) FROM audit_log WHERE action = 'sessions_revoked'")


async def test_password_change_ends_every_session(pool: Pool) -> None:
    """Guarantee 45: every session ends, the caller gets a new one, and the gateways are notified once."""
    wakeup = CountingWakeup()
    async with running(pool, wakeup=wakeup) as auth:
        first = await auth.register(EMAIL)
        other = (await auth.log_in(EMAIL)).body
        changed = await change(auth, first["user"]["id"], "correct horse", "battery staple", user_agent="mine")
        old = [await auth.refresh(body["refresh_token"]) for body in (first, other)]
        logins = [(await auth.log_in(EMAIL, password)).status for password in ("correct horse", "battery staple")]
        renewed = await auth.refresh(changed.body["refresh_token"])
        feed = await auth.revocations()

    assert 200 == changed.status
    assert first["user"] == changed.body["user"]
    assert [401, 401] == [response.status for response in old]
    assert [401, 200] == logins
    assert 200 == renewed.status
    assert {claims_of(first)["sid"], claims_of(other)["sid"]} == {item["session_id"] for item in feed["items"]}
    assert 1 == wakeup.notified
    actions = await pool.fetch("SELECT action, actor_id::text, detail FROM audit_log WHERE action = 'password_changed'")
    assert [(first["user"]["id"], '{"sessions_ended": "2"}')] == [(row["actor_id"], row["detail"]) for row in actions]


async def test_wrong_current_password_changes_nothing(auth: AuthService, pool: Pool) -> None:
    """401 as for a login, recorded, and nothing changes; a short new password is an invalid field."""
    first = await auth.register(EMAIL)
    wrong = await change(auth, first["user"]["id"], "correct horsf", "battery staple")
    short = await change(auth, first["user"]["id"], "correct horse", "short")

    assert (401, "invalid_credentials") == (wrong.status, wrong.body["code"])
    assert (422, ["new_password"]) == (short.status, [error["field"] for error in short.body["errors"]])
    assert 200 == (await auth.log_in(EMAIL)).status
    assert 200 == (await auth.refresh(first["refresh_token"])).status
    assert 1 == await pool.fetchval("SELECT count(*) FROM audit_log WHERE action = 'proof_failed'")


class SlowHashing(Hashing):
    """Pauses after a password was verified."""

    def __init__(self) -> None:
        super().__init__(QUICK)
        self.verified, self.go_on = asyncio.Event(), asyncio.Event()

    async def verify(self, stored: str | None, password: str) -> bool:
        matches = await super().verify(stored, password)
        self.verified.set()
        await self.go_on.wait()
        return matches


async def test_of_two_concurrent_changes_one_succeeds(auth: AuthService, pool: Pool) -> None:
    """A password that was verified before another change cannot change it any more."""
    first = await auth.register(EMAIL)
    user_id = first["user"]["id"]
    hashing = SlowHashing()
    late = asyncio.ensure_future(
        commands.passwords.change_password(
            pool, Keyring(SECRET), hashing, wakeup=Wakeup(None),
            user_id=user_id, current_password="correct horse", new_password="the thief's own", totp=None, user_agent=None,
        )
    )  # fmt: skip
    await hashing.verified.wait()
    changed = await change(auth, user_id, "correct horse", "battery staple")
    hashing.go_on.set()
    with pytest.raises(InvalidCredentials):
        await late
    hashing.close()

    assert 200 == (await auth.refresh(changed.body["refresh_token"])).status
    assert [401, 200] == [(await auth.log_in(EMAIL, each)).status for each in ("the thief's own", "battery staple")]


async def test_logins_during_a_change_leave_no_session_of_the_old_password(auth: AuthService, pool: Pool) -> None:
    """Of logins and refreshes concurrent with a change, no session with the old password is left."""
    first = await auth.register(EMAIL)
    spare = (await auth.log_in(EMAIL)).body
    responses = await asyncio.gather(
        *(auth.log_in(EMAIL) for _ in range(6)),
        auth.refresh(spare["refresh_token"]),
        change(auth, first["user"]["id"], "correct horse", "battery staple"),
        *(auth.log_in(EMAIL) for _ in range(6)),
    )
    changed = responses[7]
    live = await pool.fetch("SELECT id::text FROM sessions WHERE revoked_at IS NULL")

    assert 200 == changed.status
    assert [claims_of(changed.body)["sid"]] == [row["id"] for row in live]
