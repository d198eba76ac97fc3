"""The complete audit log of several scenarios: one row for each action, with actor, user and detail."""

from __future__ import annotations

import json
from typing import Any

from services.chassis.database import Pool
from services.contracts.identifiers import new_id
from tests.integration.auth.service import AuthService, register_operator
from tests.integration.auth.test_emails import claim, forget, reset, verify
from tests.integration.auth.test_sessions import claims_of
from tests.integration.auth.test_totp import Authenticator, confirm, proof, start

EMAIL = "alice@example.com"

Row = tuple[str, str | None, str | None, dict[str, Any]]


class Trail:
    """Reads the rows added since the last call: action, actor, user, detail."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._seen: set[str] = set()

    async def added(self) -> list[Row]:
        rows = await self._pool.fetch(
            "SELECT id::text, action, actor_id::text, user_id::text, detail, request_id FROM audit_log ORDER BY at, id"
        )
        new = [row for row in rows if row["id"] not in self._seen]
        self._seen |= {row["id"] for row in new}
        assert all(row["request_id"] for row in new), "each row names its request"
        return [(row["action"], row["actor_id"], row["user_id"], json.loads(row["detail"] or "{}")) for row in new]


async def test_the_trail_of_an_address_and_a_password(auth: AuthService, pool: Pool) -> None:
    """Register, verify, request a reset, reset, change: one row each, also if no e-mail is queued or nothing changes."""
    trail = Trail(pool)
    user_id = (await auth.register(EMAIL))["user"]["id"]
    assert [("user_registered", user_id, user_id, {})] == await trail.added()

    await auth.call("POST", "/internal/email/verification", {"user_id": user_id})
    assert [("verification_requested", user_id, user_id, {"email": "skipped"})] == await trail.added()

    [queued] = await claim(auth)
    await verify(auth, queued["token"])
    await verify(auth, queued["token"])
    assert [("email_verified", user_id, user_id, {})] == await trail.added()

    for email in (EMAIL, EMAIL, "unknown@example.com"):
        await forget(auth, email)
    assert [
        ("password_reset_requested", None, user_id, {"email": "queued"}),
        ("password_reset_requested", None, user_id, {"email": "skipped"}),
        ("password_reset_requested", None, None, {"email": "skipped"}),
    ] == await trail.added()

    [queued] = [each for each in await claim(auth) if each["kind"] == "reset_password"]
    for _ in range(2):
        await reset(auth, queued["token"], "battery staple")
    assert [("password_reset", user_id, user_id, {})] == await trail.added()

    await auth.log_in(EMAIL, "battery staple")
    await auth.log_in(EMAIL, "battery staple")
    await trail.added()
    body = {"user_id": user_id, "new_password": "correct horse"}
    for current in ("wrong", "battery staple"):
        await auth.call("POST", "/internal/password", body | {"current_password": current})
    assert [
        ("proof_failed", user_id, user_id, {}),
        ("password_changed", user_id, user_id, {"sessions_ended": "2"}),
    ] == await trail.added()


async def test_the_trail_of_a_second_factor(auth: AuthService, pool: Pool) -> None:
    """Started, confirmed, used, renewed and removed, and each failed proof."""
    trail = Trail(pool)
    user_id = (await auth.register(EMAIL))["user"]["id"]
    await trail.added()
    authenticator = Authenticator((await start(auth, user_id)).body["uri"])
    wrong = await confirm(auth, user_id, "abcdef")
    codes = (await confirm(auth, user_id, authenticator.code())).body["recovery_codes"]
    assert 401 == wrong.status
    assert [
        ("totp_started", user_id, user_id, {}),
        ("proof_failed", user_id, user_id, {}),
        ("totp_confirmed", user_id, user_id, {}),
    ] == await trail.added()

    await auth.log_in(EMAIL)
    await auth.log_in(EMAIL, totp="abcdef")
    await auth.log_in(EMAIL, totp=codes[0])
    assert [
        ("login_failed", None, user_id, {"reason": "totp_required", "password": "right"}),
        ("login_failed", None, user_id, {"reason": "invalid_credentials", "password": "right"}),
        ("recovery_code_used", user_id, user_id, {}),
        ("login_succeeded", user_id, user_id, {}),
    ] == await trail.added()

    path = "/internal/totp/recovery-codes"
    await proof(auth, "POST", path, user_id, "abcdef")
    renewed = (await proof(auth, "POST", path, user_id, codes[1])).body["recovery_codes"]
    assert [
        ("proof_failed", user_id, user_id, {"reason": "invalid_credentials"}),
        ("recovery_code_used", user_id, user_id, {}),
        ("recovery_codes_renewed", user_id, user_id, {}),
    ] == await trail.added()

    await proof(auth, "DELETE", "/internal/totp", user_id, renewed[0])
    assert [
        ("recovery_code_used", user_id, user_id, {}),
        ("totp_removed", user_id, user_id, {}),
    ] == await trail.added()


async def test_the_trail_of_sessions(auth: AuthService, pool: Pool) -> None:
    """Revoke one, revoke the others, reuse a refresh token: one row each, however often the request is repeated."""
    trail = Trail(pool)
    first = await auth.register(EMAIL)
    user_id, own = first["user"]["id"], claims_of(first)["sid"]
    others = [claims_of((await auth.log_in(EMAIL)).body)["sid"] for _ in range(4)]
    await trail.added()
    for _ in range(2):
        await auth.call("POST", "/internal/sessions/end", {"user_id": user_id, "session_id": others[0]})
    assert [("session_revoked", user_id, user_id, {"session_id": others[0]})] == await trail.added()

    await auth.call("POST", "/internal/sessions/end-others", {"user_id": user_id, "session_id": own})
    assert [("sessions_revoked", user_id, user_id, {"kept": own, "sessions_ended": "3"})] == await trail.added()

    for _ in range(3):
        await auth.refresh(first["refresh_token"])
    assert [("refresh_reused", None, user_id, {"session_id": own})] == await trail.added()


async def test_the_trail_of_operators(auth: AuthService, pool: Pool) -> None:
    """A role, disabling, enabling, a signing key: the operator is the actor; a request that changes nothing adds no row."""
    trail, operator = Trail(pool), await register_operator(auth, pool)
    user_id = (await auth.register(EMAIL))["user"]["id"]
    await trail.added()

    async def action(method: str, what: str, **body: str) -> None:
        response = await auth.call(method, f"/internal/users/{user_id}/{what}", {"operator_id": operator} | body)
        assert 200 == response.status

    for role in ("operator", "operator", "user", "user"):
        await action("PUT", "role", role=role)
    assert [
        ("role_granted", operator, user_id, {"from": "user", "to": "operator", "by": "operator"}),
        ("role_granted", operator, user_id, {"from": "operator", "to": "user", "by": "operator"}),
    ] == await trail.added()

    for reason in ("stolen telephone", "another reason"):
        await action("PUT", "disable", reason=reason)
    await auth.log_in(EMAIL)
    for _ in range(2):
        await action("DELETE", "disable")
    assert [
        ("user_disabled", operator, user_id, {"reason": "stolen telephone"}),
        ("login_failed", None, user_id, {"reason": "user_disabled", "password": "right"}),
        ("user_enabled", operator, user_id, {}),
    ] == await trail.added()
    assert await pool.fetchval("SELECT count(*) FROM users WHERE disabled_reason IS NOT NULL") == 0

    for _ in range(2):
        rotated = await auth.call("POST", "/internal/keys/rotate", {"operator_id": operator})
    assert [("key_rotated", operator, None, {"kid": rotated.body["items"][-1]["kid"]})] == await trail.added()


async def test_the_trail_of_keys_revoked_with_their_user(auth: AuthService, pool: Pool) -> None:
    """Disabling a user adds a row for each API key, with the operator, the key and the reason."""
    trail, operator = Trail(pool), str(new_id())
    session = await auth.register(EMAIL)
    user_id = session["user"]["id"]
    body = {
        "user_id": user_id, "session_id": claims_of(session)["sid"], "password": "correct horse",
        "name": "server", "scopes": ["transfer", "read"],
    }  # fmt: skip
    await trail.added()
    keys = [(await auth.call("POST", "/internal/api-keys", body)).body for _ in range(2)]
    named = [{"api_key_id": key["id"], "prefix": key["prefix"]} for key in keys]
    assert [("api_key_created", user_id, user_id, each | {"scopes": "read transfer"}) for each in named] == (
        await trail.added()
    )

    disable = {"operator_id": operator, "reason": "test"}
    await auth.call("PUT", f"/internal/users/{user_id}/disable", disable)
    assert [
        ("user_disabled", operator, user_id, {"reason": "test"}),
        *(("api_key_revoked", operator, user_id, each | {"reason": "user_disabled"}) for each in named),
    ] == await trail.added()
