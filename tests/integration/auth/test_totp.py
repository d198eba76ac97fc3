"""The second factor: proposed, confirmed, asked for, used once, lost, removed."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from services.auth.keyring import Vault
from services.chassis.database import Pool
from tests.harness.databases import TestDatabase
from tests.integration.auth.service import SECRET, Answer, AuthService

EMAIL = "alice@example.com"
PASSWORD = "correct horse"


class Authenticator:
    """What a telephone does, from the URI of the QR code alone."""

    def __init__(self, uri: str) -> None:
        query = parse_qs(urlsplit(uri).query)
        assert (["6"], ["30"], ["SHA1"]) == (query["digits"], query["period"], query["algorithm"])
        self._totp = TOTP(base64.b32decode(query["secret"][0]), 6, SHA1(), 30)

    def code(self, steps: int = 0) -> str:
        """The code of now, or of so many steps from now."""
        return self._totp.generate(int(time.time()) + 30 * steps).decode()


async def start(auth: AuthService, user_id: str, password: str = PASSWORD) -> Answer:
    return await auth.call("POST", "/internal/totp", {"user_id": user_id, "password": password})


async def confirm(auth: AuthService, user_id: str, code: str) -> Answer:
    return await auth.call("POST", "/internal/totp/confirm", {"user_id": user_id, "code": code})


async def turn_on(auth: AuthService, pool: Pool) -> tuple[str, Authenticator, list[str]]:
    """A user with the second factor on, confirmed a while ago: id, authenticator, recovery codes."""
    user_id = (await auth.register(EMAIL))["user"]["id"]
    authenticator = Authenticator((await start(auth, user_id)).body["uri"])
    confirmed = await confirm(auth, user_id, authenticator.code())
    assert 200 == confirmed.status, confirmed
    await pool.execute("UPDATE users SET totp_step = totp_step - 3")
    return user_id, authenticator, confirmed.body["recovery_codes"]


async def proof(auth: AuthService, method: str, path: str, user_id: str, code: str, **changes: Any) -> Answer:
    return await auth.call(method, path, {"user_id": user_id, "password": PASSWORD, "totp": code} | changes)


async def test_factor_is_on_only_when_confirmed(auth: AuthService) -> None:
    """A proposal changes no login; starting again replaces it; its first code turns it on, once, with ten recovery codes."""
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
    """Right password and no code: told so. Wrong password: the old answer, with a code or without. Both: in."""
    _, authenticator, _ = await turn_on(auth, pool)
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


async def test_code_opens_once(auth: AuthService, pool: Pool) -> None:
    """Of many logins at once with one code one gets in; it does not open again, nor does an older one; the next one does."""
    _, authenticator, _ = await turn_on(auth, pool)
    now, next_one = authenticator.code(), authenticator.code(1)
    at_once = await asyncio.gather(*(auth.log_in(EMAIL, totp=now) for _ in range(8)))
    later = await auth.log_in(EMAIL, totp=next_one)
    older = await auth.log_in(EMAIL, totp=now)

    assert [200] + [401] * 7 == sorted(answer.status for answer in at_once)
    assert 200 == later.status
    assert (401, "invalid_credentials") == (older.status, older.body["code"])


async def test_code_of_confirmation_opens_nothing(auth: AuthService) -> None:
    """The code that turned the factor on is spent by that; a code three steps away never counts."""
    user_id = (await auth.register(EMAIL))["user"]["id"]
    authenticator = Authenticator((await start(auth, user_id)).body["uri"])
    code = authenticator.code()

    assert 200 == (await confirm(auth, user_id, code)).status
    for each in (code, authenticator.code(3), authenticator.code(-3)):
        assert 401 == (await auth.log_in(EMAIL, totp=each)).status


async def test_recovery_code_opens_once(auth: AuthService, pool: Pool) -> None:
    """In the same field, however it is spelled, once even for many at once; only hashes are stored; its use is audited."""
    _, _, codes = await turn_on(auth, pool)
    at_once = await asyncio.gather(*(auth.log_in(EMAIL, totp=codes[0]) for _ in range(5)))
    spelled = await auth.log_in(EMAIL, totp=codes[1].replace("-", " ").upper())
    unknown = await auth.log_in(EMAIL, totp="abcd-efgh-ijkl-mnop")

    assert [200] + [401] * 4 == sorted(answer.status for answer in at_once)
    assert [200, 401] == [spelled.status, unknown.status]
    assert 2 == await pool.fetchval("SELECT count(*) FROM audit_log WHERE action = 'recovery_code_used'")
    stored = str(await pool.fetch("SELECT * FROM recovery_codes"))
    assert not [code for code in codes if code in stored or code.replace("-", "") in stored]


async def test_removing_needs_both(auth: AuthService, pool: Pool) -> None:
    """Neither a wrong password nor a wrong code removes it; both right do, also a recovery code; then logins ask for none."""
    user_id, authenticator, codes = await turn_on(auth, pool)
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
    """With both factors ten new ones are made, and the old ones open nothing."""
    user_id, authenticator, codes = await turn_on(auth, pool)
    path = "/internal/totp/recovery-codes"
    refused = await proof(auth, "POST", path, user_id, "abcdef")
    renewed = await proof(auth, "POST", path, user_id, authenticator.code())

    assert (401, 200) == (refused.status, renewed.status)
    assert 10 == len(set(renewed.body["recovery_codes"]) - set(codes))
    assert 401 == (await auth.log_in(EMAIL, totp=codes[0])).status
    assert 200 == (await auth.log_in(EMAIL, totp=renewed.body["recovery_codes"][0])).status


async def test_password_change_needs_the_code(auth: AuthService, pool: Pool) -> None:
    """With the factor on another password needs a code too, told only to who knows the old password."""
    user_id, authenticator, _ = await turn_on(auth, pool)
    body = {"user_id": user_id, "current_password": PASSWORD, "new_password": "battery staple"}
    answers = [
        await auth.call("POST", "/internal/password", body),
        await auth.call("POST", "/internal/password", body | {"current_password": "correct horsf"}),
        await auth.call("POST", "/internal/password", body | {"totp": authenticator.code()}),
    ]

    assert [401, 401, 200] == [each.status for each in answers]
    assert ["totp_required", "invalid_credentials"] == [each.body["code"] for each in answers[:2]]
    assert "totp_required" == (await auth.log_in(EMAIL, "battery staple")).body["code"]


async def test_secret_is_sealed_for_its_user(auth: AuthService, pool: Pool, auth_database: TestDatabase) -> None:
    """What is stored is not the secret, and opens for nobody else."""
    user_id = (await auth.register(EMAIL))["user"]["id"]
    other = (await auth.register("bob@example.com"))["user"]["id"]
    secret = base64.b32decode((await start(auth, user_id)).body["secret"])
    row = await pool.fetchrow("SELECT id, totp_secret_sealed AS sealed FROM users WHERE email = $1", EMAIL)
    await pool.execute("UPDATE users SET totp_secret_sealed = $1 WHERE id = $2", row["sealed"], other)

    assert secret not in row["sealed"]
    assert secret == Vault(SECRET).open_factor(row["sealed"], row["id"])
    assert 500 == (await confirm(auth, other, "123456")).status


async def test_who_is_disabled_changes_no_factor(auth: AuthService, pool: Pool) -> None:
    """Also a gateway that has not heard of it yet can neither propose nor confirm one for a disabled user."""
    user_id = (await auth.register(EMAIL))["user"]["id"]
    authenticator = Authenticator((await start(auth, user_id)).body["uri"])
    await pool.execute("UPDATE users SET disabled_at = now(), disabled_reason = 'test'")
    answers = [await start(auth, user_id), await confirm(auth, user_id, authenticator.code())]

    assert [(403, "user_disabled")] * 2 == [(answer.status, answer.body["code"]) for answer in answers]
    assert await pool.fetchval("SELECT totp_confirmed_at IS NULL FROM users")
