"""The second factor: start, confirm, log in, lose, remove."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from services.auth.keyring import Keyring
from services.chassis.database import Pool
from tests.harness.databases import TestDatabase
from tests.integration.auth.service import SECRET, AuthService, Response

EMAIL = "alice@example.com"
PASSWORD = "correct horse"


class Authenticator:
    """An authenticator app, set up with the URI of the QR code alone."""

    def __init__(self, uri: str) -> None:
        query = parse_qs(urlsplit(uri).query)
        assert (["6"], ["30"], ["SHA1"]) == (query["digits"], query["period"], query["algorithm"])
        self._totp = TOTP(base64.b32decode(query["secret"][0]), 6, SHA1(), 30)

    def code(self, steps: int = 0) -> str:
        """The current code, or the one so many steps away."""
        return self._totp.generate(int(time.time()) + 30 * steps).decode()


async def start(auth: AuthService, user_id: str, password: str = PASSWORD) -> Response:
    return await auth.call("POST", "/internal/totp", {"user_id": user_id, "password": password})


async def confirm(auth: AuthService, user_id: str, code: str) -> Response:
    return await auth.call("POST", "/internal/totp/confirm", {"user_id": user_id, "code": code})


async def enable_totp(auth: AuthService, pool: Pool) -> tuple[str, Authenticator, list[str]]:
    """A user who enabled the second factor a while ago: id, authenticator, recovery codes."""
    user_id = (await auth.register(EMAIL))["user"]["id"]
    authenticator = Authenticator((await start(auth, user_id)).body["uri"])
    confirmed = await confirm(auth, user_id, authenticator.code())
    assert 200 == confirmed.status, confirmed
    await pool.execute("UPDATE users SET totp_step = totp_step - 3")
    return user_id, authenticator, confirmed.body["recovery_codes"]


async def proof(auth: AuthService, method: str, path: str, user_id: str, code: str, **changes: Any) -> Response:
    return await auth.call(method, path, {"user_id": user_id, "password": PASSWORD, "totp": code} | changes)


async def test_factor_is_enabled_only_when_confirmed(auth: AuthService) -> None:
    """Starting changes no login, and again replaces the secret; the first code enables it once, with ten recovery codes."""
    user_id = (await auth.register(EMAIL))["user"]["id"]
    wrong = await start(auth, user_id, "correct horsf")
    early = await confirm(auth, user_id, "123456")
    first = await start(auth, user_id)
    second = await start(auth, user_id)
    login = await auth.log_in(EMAIL)
    stale = await confirm(auth, user_id, Authenticator(first.body["uri"]).code())
    authenticator = Authenticator(second.body["uri"])
    confirmed = await confirm(auth, user_id, authenticator.code())
    again = [await confirm(auth, user_id, authenticator.code(1)), await start(auth, user_id)]

    assert (401, "invalid_credentials") == (wrong.status, wrong.body["code"])
    assert (409, "totp_not_started") == (early.status, early.body["code"])
    assert first.body["secret"] != second.body["secret"]
    assert second.body["uri"].startswith("otpauth://totp/PayFlow:alice%40example.com?")
    assert (200, False) == (login.status, login.body["user"]["totp"])
    assert (401, "invalid_credentials") == (stale.status, stale.body["code"])
    assert (200, 10) == (confirmed.status, len(set(confirmed.body["recovery_codes"])))
    assert [(409, "totp_already_enabled")] * 2 == [(each.status, each.body["code"]) for each in again]


async def test_login_needs_the_code(auth: AuthService, pool: Pool) -> None:
    """Correct password, no code: 401 says so. Wrong password: the usual response, with or without a code. Both: logged in."""
    _, authenticator, _ = await enable_totp(auth, pool)
    wrong = [
        await auth.log_in(EMAIL, "correct horsf"),
        await auth.log_in(EMAIL, "correct horsf", totp=authenticator.code()),
    ]
    without = await auth.log_in(EMAIL)
    wrong_code = await auth.log_in(EMAIL, totp="000000" if authenticator.code() != "000000" else "000001")
    both = await auth.log_in(EMAIL, totp=authenticator.code())

    assert ["invalid_credentials"] * 3 == [each.body["code"] for each in (*wrong, wrong_code)]
    assert [401] * 4 == [each.status for each in (*wrong, without, wrong_code)]
    assert 1 == len({str(each.body | {"request_id": ""}) for each in (*wrong, wrong_code)})
    assert "totp_required" == without.body["code"]
    assert (200, True) == (both.status, both.body["user"]["totp"])


async def test_code_works_once(auth: AuthService, pool: Pool) -> None:
    """Of concurrent logins with one code one succeeds; the code, and older ones, then fail; the next one works."""
    _, authenticator, _ = await enable_totp(auth, pool)
    now, next_one = authenticator.code(), authenticator.code(1)
    at_once = await asyncio.gather(*(auth.log_in(EMAIL, totp=now) for _ in range(8)))
    later = await auth.log_in(EMAIL, totp=next_one)
    older = await auth.log_in(EMAIL, totp=now)

    assert [200] + [401] * 7 == sorted(response.status for response in at_once)
    assert 200 == later.status
    assert (401, "invalid_credentials") == (older.status, older.body["code"])


async def test_code_of_confirmation_is_spent(auth: AuthService) -> None:
    """The confirming code cannot be used to log in; a code three steps away never counts."""
    user_id = (await auth.register(EMAIL))["user"]["id"]
    authenticator = Authenticator((await start(auth, user_id)).body["uri"])
    code = authenticator.code()

    assert 200 == (await confirm(auth, user_id, code)).status
    for each in (code, authenticator.code(3), authenticator.code(-3)):
        assert 401 == (await auth.log_in(EMAIL, totp=each)).status


async def test_recovery_code_works_once(auth: AuthService, pool: Pool) -> None:
    """In any spelling, once even for concurrent logins; only hashes are stored; its use is audited."""
    _, _, codes = await enable_totp(auth, pool)
    at_once = await asyncio.gather(*(auth.log_in(EMAIL, totp=codes[0]) for _ in range(5)))
    spelled = await auth.log_in(EMAIL, totp=codes[1].replace("-", " ").upper())
    unknown = await auth.log_in(EMAIL, totp="abcd-efgh-ijkl-mnop")

    assert [200] + [401] * 4 == sorted(response.status for response in at_once)
    assert [200, 401] == [spelled.status, unknown.status]
    assert 2 == await pool.fetchval("SELECT count(*) FROM audit_log WHERE action = 'recovery_code_used'")
    stored = str(await pool.fetch("SELECT * FROM recovery_codes"))
    assert not [code for code in codes if code in stored or code.replace("-", "") in stored]


async def test_removing_needs_both(auth: AuthService, pool: Pool) -> None:
    """A wrong password or code does not remove it; both correct, also a recovery code, do; logins then need no code."""
    user_id, authenticator, codes = await enable_totp(auth, pool)
    path = "/internal/totp"
    refused = [
        await proof(auth, "DELETE", path, user_id, authenticator.code(), password="correct horsf"),
        await proof(auth, "DELETE", path, user_id, "1234567"),
    ]
    on = await auth.log_in(EMAIL)
    removed = await proof(auth, "DELETE", path, user_id, codes[3])
    login = await auth.log_in(EMAIL)
    again = await proof(auth, "DELETE", path, user_id, authenticator.code(1))

    assert ["invalid_credentials"] * 2 == [each.body["code"] for each in refused]
    assert "totp_required" == on.body["code"]
    assert (204, 200, 409) == (removed.status, login.status, again.status)
    assert 0 == await pool.fetchval("SELECT count(*) FROM recovery_codes")
    assert await pool.fetchval("SELECT totp_secret_sealed IS NULL FROM users")


async def test_new_recovery_codes_replace_the_old(auth: AuthService, pool: Pool) -> None:
    """With both factors ten new codes are created, and the old ones become invalid."""
    user_id, authenticator, codes = await enable_totp(auth, pool)
    path = "/internal/totp/recovery-codes"
    refused = await proof(auth, "POST", path, user_id, "abcdef")
    renewed = await proof(auth, "POST", path, user_id, authenticator.code())

    assert (401, 200) == (refused.status, renewed.status)
    assert 10 == len(set(renewed.body["recovery_codes"]) - set(codes))
    assert 401 == (await auth.log_in(EMAIL, totp=codes[0])).status
    assert 200 == (await auth.log_in(EMAIL, totp=renewed.body["recovery_codes"][0])).status


async def test_password_change_needs_the_code(auth: AuthService, pool: Pool) -> None:
    """With the factor enabled, a password change needs a code; only the correct old password reveals that."""
    user_id, authenticator, _ = await enable_totp(auth, pool)
    body = {"user_id": user_id, "current_password": PASSWORD, "new_password": "battery staple"}
    responses = [
        await auth.call("POST", "/internal/password", body),
        await auth.call("POST", "/internal/password", body | {"current_password": "correct horsf"}),
        await auth.call("POST", "/internal/password", body | {"totp": authenticator.code()}),
    ]

    assert [401, 401, 200] == [each.status for each in responses]
    assert ["totp_required", "invalid_credentials"] == [each.body["code"] for each in responses[:2]]
    assert "totp_required" == (await auth.log_in(EMAIL, "battery staple")).body["code"]


async def test_secret_is_sealed_for_its_user(auth: AuthService, pool: Pool, auth_database: TestDatabase) -> None:
    """The secret is stored sealed, and cannot be opened for another user."""
    user_id = (await auth.register(EMAIL))["user"]["id"]
    other = (await auth.register("bob@example.com"))["user"]["id"]
    secret = base64.b32decode((await start(auth, user_id)).body["secret"])
    row = await pool.fetchrow("SELECT id, totp_secret_sealed AS sealed FROM users WHERE email = $1", EMAIL)
    assert row is not None
    await pool.execute("UPDATE users SET totp_secret_sealed = $1 WHERE id = $2", row["sealed"], other)

    assert secret not in row["sealed"]
    assert secret == Keyring(SECRET).open_factor(row["sealed"], row["id"])
    assert 500 == (await confirm(auth, other, "123456")).status


async def test_a_disabled_user_cannot_set_up_a_factor(auth: AuthService, pool: Pool) -> None:
    """A disabled user can neither start nor confirm one, also if the gateway does not know yet."""
    user_id = (await auth.register(EMAIL))["user"]["id"]
    authenticator = Authenticator((await start(auth, user_id)).body["uri"])
    await pool.execute("UPDATE users SET disabled_at = now(), disabled_reason = 'test'")
    responses = [await start(auth, user_id), await confirm(auth, user_id, authenticator.code())]

    assert [(403, "user_disabled")] * 2 == [(response.status, response.body["code"]) for response in responses]
    assert await pool.fetchval("SELECT totp_confirmed_at IS NULL FROM users")
