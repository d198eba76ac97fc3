"""Register, log in, and look up users."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from argon2 import Parameters, Type

from services.auth import api, commands, passwords
from services.auth.keyring import Keyring
from services.auth.passwords import Hashing
from services.auth.wakeup import Wakeup
from services.chassis.database import Pool
from services.contracts.identifiers import new_id
from services.contracts.refusals.auth import InvalidCredentials
from tests.integration.auth.service import QUICK, SECRET, AuthService, running


async def test_register_returns_a_session(auth: AuthService) -> None:
    """A registered user is logged in; the address is stored in its normal form, the name without surrounding spaces."""
    body = await auth.register("  Alice@Example.com", name=" Alice Doe ")
    me = await auth.call("GET", f"/internal/users/{body['user']['id']}")

    assert {"user", "access_token", "refresh_token", "token_type", "expires_in"} == set(body)
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 600)
    known = {"email": "alice@example.com", "name": "Alice Doe", "role": "user", "email_verified": False, "totp": False}
    assert known | {"id": body["user"]["id"]} == me.body
    assert me.body == body["user"]


async def test_address_is_registered_once(auth: AuthService, pool: Pool) -> None:
    """Of concurrent registrations with one address, in any spelling, one succeeds; the others leave no rows."""
    typed = ["Bob@Example.com", "bob@example.com", "BOB@EXAMPLE.COM "] * 5
    responses = await asyncio.gather(
        *(
            auth.call("POST", "/internal/register", {"email": email, "password": "correct horse", "name": "Bob"})
            for email in typed
        )
    )

    assert sorted(response.status for response in responses) == [201] + [409] * 14
    assert {"email_taken"} == {response.body["code"] for response in responses if response.status == 409}
    for table in ("users", "sessions", "refresh_tokens", "audit_log", "emails"):
        assert await pool.fetchval(f"SELECT count(*) FROM {table}") == 1


async def test_login_opens_a_new_session(auth: AuthService) -> None:
    """The correct password opens a new session of the same user, whatever the case of the address."""
    registered = await auth.register("alice@example.com")
    response = await auth.log_in("ALICE@example.com")

    assert response.status == 200
    assert registered["user"] == response.body["user"]
    assert registered["refresh_token"] != response.body["refresh_token"]


async def test_wrong_password_and_unknown_address_get_the_same_response(auth: AuthService) -> None:
    """The responses differ only in the request id."""
    await auth.register("alice@example.com")
    wrong = await auth.log_in("alice@example.com", "correct horsf")
    unknown = await auth.log_in("unknown@example.com")
    short = await auth.log_in("alice@example.com", "x")

    assert [wrong.status, unknown.status, short.status] == [401] * 3
    bodies = [response.body | {"request_id": ""} for response in (wrong, unknown, short)]
    assert bodies[0] == bodies[1] == bodies[2]
    assert bodies[0]["code"] == "invalid_credentials"
    assert {*wrong.headers} == {*unknown.headers}
    assert wrong.headers["Content-Length"] == unknown.headers["Content-Length"]


class CountingHashing:
    """Counts verifications, and rejects every password."""

    def __init__(self) -> None:
        self.verified: list[bool] = []

    async def verify(self, stored: str | None, _password: str) -> bool:
        self.verified.append(stored is not None)
        return False


async def test_known_and_unknown_address_cost_the_same(auth: AuthService, pool: Pool) -> None:
    """A failed login verifies once and writes one audit row, registered or not: its time reveals nothing."""
    await auth.register("alice@example.com")
    hashing: Any = CountingHashing()
    rows = []
    for email in ("alice@example.com", "unknown@example.com"):
        with pytest.raises(InvalidCredentials):
            await commands.accounts.log_in(
                pool, Keyring(SECRET), hashing, wakeup=Wakeup(None), email=email, password="correct horsf"
            )
        rows.append(await pool.fetchval("SELECT count(*) FROM audit_log WHERE action = 'login_failed'"))

    assert hashing.verified == [True, False]
    assert rows == [1, 2]


async def test_password_moves_to_the_new_profile_at_login(auth: AuthService, pool: Pool) -> None:
    """After a change of the profile, concurrent logins succeed, and the password is rehashed."""
    await auth.register("alice@example.com")
    old = await pool.fetchval("SELECT password_hash FROM users")
    async with running(pool, profile=Parameters(Type.ID, 19, 16, 32, 2, 16, 1)) as moved:
        first = await asyncio.gather(*(moved.log_in("alice@example.com") for _ in range(4)))
        renewed = await pool.fetchval("SELECT password_hash FROM users")
        later = await moved.log_in("alice@example.com")

    assert [response.status for response in (*first, later)] == [200] * 5
    assert "m=8,t=1,p=1" in old
    assert "m=16,t=2,p=1" in renewed
    assert renewed == await pool.fetchval("SELECT password_hash FROM users")


class ChangingHashing(Hashing):
    """The password changes while it is being verified."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(QUICK)
        self._pool = pool

    async def verify(self, stored: str | None, password: str) -> bool:
        matches = await super().verify(stored, password)
        await self._pool.execute("UPDATE users SET password_changed_at = clock_timestamp()")
        return matches


async def test_password_changed_meanwhile_is_rejected(auth: AuthService, pool: Pool) -> None:
    """A login verified against a password that has changed since opens no session."""
    await auth.register("alice@example.com")
    hashing = ChangingHashing(pool)

    with pytest.raises(InvalidCredentials):
        await commands.accounts.log_in(
            pool, Keyring(SECRET), hashing, wakeup=Wakeup(None), email="alice@example.com", password="correct horse"
        )

    hashing.close()
    assert await pool.fetchval("SELECT count(*) FROM sessions") == 1


async def test_excess_logins_are_rejected(auth: AuthService, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit a login gets 503 with Retry-After at once; those that wait succeed."""
    monkeypatch.setattr(passwords, "WAIT_SECONDS_MAX", 60.0)
    await auth.register("alice@example.com")
    thread_is_free = threading.Event()
    async with running(pool, workers=1, waiting_max=3) as busy:
        hashing = busy.application[api.HASHING]
        computed = asyncio.ensure_future(hashing._run(thread_is_free.wait))
        waiting = [asyncio.ensure_future(busy.log_in("alice@example.com")) for _ in range(3)]
        try:
            async with asyncio.timeout(60):
                while hashing._pending < 4:
                    await asyncio.sleep(0.01)
                refused = await asyncio.gather(*(busy.log_in("alice@example.com") for _ in range(8)))
            assert not any(login.done() for login in waiting)
        finally:
            thread_is_free.set()
        admitted = [*await asyncio.gather(*waiting), await busy.log_in("alice@example.com")]
        await computed

    assert [(503, "too_many_logins")] * 8 == [(response.status, response.body["code"]) for response in refused]
    assert all(int(response.headers["Retry-After"]) >= 1 for response in refused)
    assert [200] * 4 == [response.status for response in admitted]


async def test_recipients_are_found_as_spelled(auth: AuthService) -> None:
    """Registered addresses are returned as spelled in the request; unknown and malformed ones are left out."""
    alice = (await auth.register("alice@example.com"))["user"]
    bob = (await auth.register("bob@example.com", name="Bob"))["user"]
    body = [
        "Bob@Example.com",
        "alice@example.com",
        "unknown@example.com",
        "no address",
        "x\x00@example.com",
        "",
        "ß" * 999,
    ]
    response = await auth.call("POST", "/internal/recipients", {"emails": body}, by="transaction")

    assert response.status == 200
    assert {
        ("Bob@Example.com", bob["id"], "Bob"),
        ("alice@example.com", alice["id"], "Alice"),
    } == {(item["email"], item["user_id"], item["name"]) for item in response.body["items"]}
    assert (await auth.call("POST", "/internal/recipients", {"emails": []})).body == {"items": []}


async def test_names_and_contacts_of_known_users_only(auth: AuthService) -> None:
    """Names have no address, contacts do; unknown ids are left out."""
    alice = (await auth.register("alice@example.com"))["user"]
    body = {"ids": [alice["id"], str(new_id())]}
    names = await auth.call("POST", "/internal/names", body)
    contacts = await auth.call("POST", "/internal/contacts", body, by="notification-deliver")

    assert {"items": [{"user_id": alice["id"], "name": "Alice"}]} == names.body
    assert {"items": [{"user_id": alice["id"], "email": "alice@example.com", "name": "Alice"}]} == contacts.body


async def test_unknown_user_is_not_found(auth: AuthService) -> None:
    """An unknown id and a malformed id get the same response."""
    unknown = await auth.call("GET", f"/internal/users/{new_id()}")
    malformed = await auth.call("GET", "/internal/users/1")

    assert [unknown.status, malformed.status] == [404, 404]
    assert unknown.body | {"request_id": ""} == malformed.body | {"request_id": ""}
    assert unknown.body["code"] == "user_not_found"
