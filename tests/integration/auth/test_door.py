"""Who may call which route, and what is wrong with a body."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from services.auth import keys
from services.chassis.database import close_pool
from services.chassis.service_tokens import TokenSigner
from services.contracts.identifiers import new_id
from tests.harness.databases import Templates
from tests.integration.auth.service import IDENTITIES, AuthService, identity, running

CALLERS = {
    ("POST", "/internal/register"): {"gateway"},
    ("POST", "/internal/login"): {"gateway"},
    ("POST", "/internal/places"): {"gateway"},
    ("POST", "/internal/refresh"): {"gateway"},
    ("POST", "/internal/logout"): {"gateway"},
    ("POST", "/internal/password"): {"gateway"},
    ("POST", "/internal/sessions/end"): {"gateway"},
    ("POST", "/internal/sessions/end-others"): {"gateway"},
    ("POST", "/internal/totp"): {"gateway"},
    ("DELETE", "/internal/totp"): {"gateway"},
    ("POST", "/internal/totp/confirm"): {"gateway"},
    ("POST", "/internal/totp/recovery-codes"): {"gateway"},
    ("GET", "/internal/users/{id}"): {"gateway"},
    ("GET", "/internal/users/{id}/sessions"): {"gateway"},
    ("POST", "/internal/users/find"): {"gateway"},
    ("PUT", "/internal/users/{id}/role"): {"gateway"},
    ("PUT", "/internal/users/{id}/disable"): {"gateway"},
    ("DELETE", "/internal/users/{id}/disable"): {"gateway"},
    ("GET", "/internal/keys"): {"gateway"},
    ("POST", "/internal/keys/rotate"): {"gateway"},
    ("GET", "/internal/jwks"): {"gateway"},
    ("GET", "/internal/revocations"): {"gateway"},
    ("POST", "/internal/recipients"): {"gateway", "transaction"},
    ("POST", "/internal/names"): {"gateway"},
    ("POST", "/internal/contacts"): {"notification-deliver"},
    ("POST", "/internal/email/verify"): {"gateway"},
    ("POST", "/internal/email/verification"): {"gateway"},
    ("POST", "/internal/password/forgot"): {"gateway"},
    ("POST", "/internal/password/reset"): {"gateway"},
    ("POST", "/internal/letters/claim"): {"notification-deliver"},
    ("POST", "/internal/letters/settle"): {"notification-deliver"},
    ("POST", "/internal/letters/release"): {"notification-deliver"},
    ("GET", "/internal/audit"): {"gateway"},
    ("POST", "/internal/api-keys"): {"gateway"},
    ("GET", "/internal/api-keys"): {"gateway"},
    ("DELETE", "/internal/api-keys/{id}"): {"gateway"},
    ("POST", "/internal/api-keys/verify"): {"gateway"},
}


@pytest.fixture(scope="module")
async def auth(templates: Templates) -> AsyncIterator[AuthService]:
    """One service for all of these tests: they record next to nothing."""
    made = await templates.fresh("auth")
    pool = await made.pool()
    async with running(pool) as service:
        yield service
    await close_pool(pool)
    await templates.drop(made)


def routes(auth: AuthService) -> list[tuple[str, str]]:
    """Every route there is, as the application knows them."""
    return [
        (route.method, route.resource.canonical)
        for route in auth.application.router.routes()
        if route.resource is not None and route.method != "HEAD"
    ]


def service_token(*, by: str = "gateway", audience: str = "auth", expired: bool = False) -> str:
    if not expired:
        return TokenSigner(identity(by), audience=audience).token()
    then = int(time.time()) - 3600
    claims = {"iss": by, "aud": audience, "iat": then, "exp": then + 60}
    return jwt.encode(claims, identity(by).key, algorithm="EdDSA", headers={"kid": by})


async def test_callers_are_known_for_every_route(auth: AuthService) -> None:
    """No route exists that this file does not say the callers of."""
    assert set(CALLERS) == set(routes(auth))


async def test_every_route_asks_who_is_calling(auth: AuthService) -> None:
    """No credential, no token at all, an expired one: 401. A user's token, one for another service, a forged one: 403."""
    user_token = (await auth.register("alice@example.com"))["access_token"]
    forged = jwt.encode(
        {"iss": "gateway", "aud": "auth", "iat": int(time.time()), "exp": int(time.time()) + 60},
        keys.new_key().private_key,
        algorithm="EdDSA",
        headers={"kid": "gateway"},
    )
    for method, path in routes(auth):
        for header, status in [
            (None, 401),
            ("", 401),
            ("Bearer", 401),
            ("Bearer nonsense", 401),
            ("Basic YTpi", 401),
            (f"Bearer {user_token}", 403),
            (f"Bearer {service_token(audience='wallet')}", 403),
            (f"Bearer {forged}", 403),
        ]:
            headers = {} if header is None else {"Authorization": header}
            answer = await auth.send(method, path.replace("{id}", str(new_id())), headers=headers)
            assert status == answer.status, (method, path, header)
            assert answer.body["code"] == {401: "service_token_required", 403: "service_not_allowed"}[status]
        headers = {"Authorization": f"Bearer {service_token(expired=True)}"}
        answer = await auth.send(method, path.replace("{id}", str(new_id())), headers=headers)
        assert (401, "token_clock_skew") == (answer.status, answer.body["code"]), (method, path)


async def test_every_route_has_its_callers(auth: AuthService) -> None:
    """Each service gets through to the routes that are its own, and 403 on all others."""
    for method, path in routes(auth):
        for name in IDENTITIES:
            answer = await auth.call(method, path.replace("{id}", str(new_id())), by=name)
            refused = answer.status in (401, 403)
            assert refused == (name not in CALLERS[method, path]), (method, path, name, answer)


REGISTER = {"email": "carol@example.com", "password": "correct horse", "name": "Alice"}
WRONG = "/internal/register"


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        (WRONG, {}, {"email", "password", "name"}),
        (WRONG, {"email": 1, "password": None, "name": []}, {"email", "password", "name"}),
        (WRONG, REGISTER | {"email": "alice"}, {"email"}),
        (WRONG, REGISTER | {"email": "alice@example.com\r\nBcc: eve@example.com"}, {"email"}),
        (WRONG, REGISTER | {"email": "a" * 300 + "@example.com"}, {"email"}),
        (WRONG, REGISTER | {"email": "alice\x00@example.com"}, {"email"}),
        (WRONG, REGISTER | {"password": "1234567"}, {"password"}),
        (WRONG, REGISTER | {"password": "x" * 201}, {"password"}),
        (WRONG, REGISTER | {"password": "nul\x00nulnul"}, {"password"}),
        (WRONG, REGISTER | {"password": 12345678}, {"password"}),
        (WRONG, REGISTER | {"name": ""}, {"name"}),
        (WRONG, REGISTER | {"name": "   "}, {"name"}),
        (WRONG, REGISTER | {"name": "x" * 101}, {"name"}),
        (WRONG, REGISTER | {"name": "Alice\r\nforged=1"}, {"name"}),
        (WRONG, REGISTER | {"name": "\ud800"}, {"name"}),
        (WRONG, REGISTER | {"role": "operator"}, {"role"}),
        (WRONG, REGISTER | {"id": "x", "email": ""}, {"id", "email"}),
        (WRONG, [], {"body"}),
        (WRONG, "text", {"body"}),
        ("/internal/login", {"email": "alice@example.com"}, {"password"}),
        ("/internal/login", {"email": "'; DROP TABLE users --", "password": ""}, {"email", "password"}),
        ("/internal/refresh", {}, {"refresh_token"}),
        ("/internal/refresh", {"refresh_token": 1}, {"refresh_token"}),
        ("/internal/refresh", {"refresh_token": ""}, {"refresh_token"}),
        ("/internal/logout", {"session_id": "1", "user_id": None}, {"session_id", "user_id"}),
        ("/internal/recipients", {}, {"emails"}),
        ("/internal/recipients", {"emails": "alice@example.com"}, {"emails"}),
        ("/internal/recipients", {"emails": ["a"] * 1001}, {"emails"}),
        ("/internal/names", {"ids": ["1"]}, {"ids.0"}),
    ],
)
async def test_invalid_bodies_name_the_fields(auth: AuthService, path: str, body: Any, fields: set[str]) -> None:
    """422 names every faulty field at once, repeats nothing that was sent, and records nothing."""
    answer = await auth.call("POST", path, body)

    assert answer.status == 422
    assert answer.body["code"] == "invalid_request"
    assert fields == {error["field"] for error in answer.body["errors"]}
    assert "correct horse" not in str(answer.body)
    assert "1234567" not in str(answer.body)
    assert (await auth.log_in("carol@example.com")).status == 401


@pytest.mark.parametrize(
    ("data", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed_json"),
        (b'{"email": "a@example.com", "email": "b@example.com"}', "application/json", 400, "malformed_json"),
        (b'{"email": NaN}', "application/json", 400, "malformed_json"),
        (b"\xff", "application/json", 400, "malformed_json"),
        (b"[" * 10_000, "application/json", 400, "malformed_json"),
        (b"email=a", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
    ],
)
async def test_what_is_not_json(auth: AuthService, data: bytes, content_type: str, status: int, code: str) -> None:
    """Bodies that two readers could read in two ways are refused before anything looks at their fields."""
    for path in ("/internal/register", "/internal/login", "/internal/refresh", "/internal/logout"):
        answer = await auth.call("POST", path, data=data, headers={"Content-Type": content_type})
        assert (status, code) == (answer.status, answer.body["code"]), path


@pytest.mark.parametrize("after", ["-1", "1.5", "x", "", "9" * 19, "9" * 5000, "\u0663", "1e3"])
async def test_feed_refuses_what_is_no_number(auth: AuthService, after: str) -> None:
    """A place in the feed is a whole number within bounds."""
    answer = await auth.call("GET", "/internal/revocations", params={"after": after})

    assert answer.status == 422
    assert [error["field"] for error in answer.body["errors"]] == ["after"]
