"""Invalid requests. Which service can call which route is in tests/integration/test_internal_callers.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.chassis.database import close_pool
from services.contracts.identifiers import new_id
from tests.harness.databases import Templates
from tests.integration.auth.service import AuthService, running


@pytest.fixture(scope="module")
async def auth(templates: Templates) -> AsyncIterator[AuthService]:
    """One service for all of these tests, which record almost nothing."""
    made = await templates.fresh("auth")
    pool = await made.pool()
    async with running(pool) as service:
        yield service
    await close_pool(pool)
    await templates.drop(made)


REGISTER = {"email": "carol@example.com", "password": "correct horse", "name": "Alice"}
WRONG = "/internal/register"


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        (WRONG, {}, {"email", "password", "name"}),
        (WRONG, {"email": 1, "password": None, "name": []}, {"email", "password", "name"}),
        (WRONG, REGISTER | {"email": "alice"}, {"email"}),
        (WRONG, REGISTER | {"email": "canary-a@payflow.invalid"}, {"email"}),
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
    """422 names every invalid field at once, repeats no input, and records nothing."""
    response = await auth.call("POST", path, body)

    assert response.status == 422
    assert response.body["code"] == "invalid_request"
    assert fields == {error["field"] for error in response.body["errors"]}
    assert "correct horse" not in str(response.body)
    assert "1234567" not in str(response.body)
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
async def test_malformed_json_is_rejected(
    auth: AuthService, data: bytes, content_type: str, status: int, code: str
) -> None:
    """Bodies that parsers could read differently are rejected before their fields are read."""
    for path in ("/internal/register", "/internal/login", "/internal/refresh", "/internal/logout"):
        response = await auth.call("POST", path, data=data, headers={"Content-Type": content_type})
        assert (status, code) == (response.status, response.body["code"]), path


@pytest.mark.parametrize("after", ["-1", "1.5", "x", "", "9" * 19, "9" * 5000, "\u0663", "1e3"])
async def test_the_feed_requires_a_number(auth: AuthService, after: str) -> None:
    """A position in the feed is a whole number within bounds."""
    response = await auth.call("GET", "/internal/revocations", params={"after": after})

    assert response.status == 422
    assert [error["field"] for error in response.body["errors"]] == ["after"]


@pytest.mark.parametrize(
    ("parameters", "fields"),
    [
        ({"limit": "x"}, {"limit"}),
        ({"limit": ""}, {"limit"}),
        ({"limit": "0"}, {"limit"}),
        ({"limit": "201"}, {"limit"}),
        ({"limit": "1.5"}, {"limit"}),
        ({"limit": "9" * 5000}, {"limit"}),
        ({"cursor": "x"}, {"cursor"}),
        ({"cursor": ""}, {"cursor"}),
        ({"limit": "x", "cursor": "x", "after": "1"}, {"limit", "cursor", "after"}),
    ],
)
async def test_the_list_of_sessions_requires_valid_parameters(
    auth: AuthService, parameters: dict[str, str], fields: set[str]
) -> None:
    """422 names every invalid parameter at once."""
    response = await auth.call("GET", f"/internal/users/{new_id()}/sessions", params=parameters)

    assert (422, "invalid_request") == (response.status, response.body["code"])
    assert fields == {error["field"] for error in response.body["errors"]}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_api_keys_require_a_user(auth: AuthService, method: str) -> None:
    """Without a user id, and with a malformed one, the list and the revocation of API keys are 422."""
    path = "/internal/api-keys" if method == "GET" else f"/internal/api-keys/{new_id()}"
    responses = [await auth.call(method, path, params=each) for each in ({}, {"user_id": "1"})]

    assert [(422, ["user_id"])] * 2 == [
        (response.status, [error["field"] for error in response.body["errors"]]) for response in responses
    ]


OPERATOR = {"operator_id": str(new_id())}


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", "/internal/users/{id}", {}),
        ("GET", "/internal/users/{id}/sessions", {}),
        ("PUT", "/internal/users/{id}/role", {"body": OPERATOR | {"role": "user"}}),
        ("PUT", "/internal/users/{id}/disable", {"body": OPERATOR | {"reason": "test"}}),
        ("DELETE", "/internal/users/{id}/disable", {"body": OPERATOR}),
        ("DELETE", "/internal/api-keys/{id}", {"params": {"user_id": str(new_id())}}),
    ],
)
@pytest.mark.parametrize("identifier", ["1", "x" * 36, "%00", "00000000-0000-0000-0000-00000000000g"])
async def test_a_malformed_id_is_not_found(
    auth: AuthService, method: str, path: str, options: dict[str, Any], identifier: str
) -> None:
    """A malformed id in the path is 404 like an unknown one."""
    assert 404 == (await auth.call(method, path.format(id=identifier), **options)).status
