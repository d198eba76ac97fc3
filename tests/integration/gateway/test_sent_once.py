"""Which requests reach auth twice when a connection breaks, and which must not."""

from __future__ import annotations

from typing import Any

import pytest

from services.contracts.identifiers import new_id
from tests.integration.gateway.conftest import ApiClient

PASSWORD = {"password": "correct horse"}
PERSON = {"email": "a@example.com", "name": "Alice", **PASSWORD}
CODE = {"totp": "123456"}
KEY = {"name": "shop", "scopes": ["read"], **PASSWORD}
CHANGE = {"current_password": "correct horse", "new_password": "battery staple"}

ONCE: list[tuple[str, str, dict[str, Any], str]] = [
    ("POST", "/auth/register", PERSON, "/internal/register"),
    ("POST", "/auth/login", {"email": "a@example.com", **PASSWORD, **CODE}, "/internal/login"),
    ("POST", "/auth/refresh", {"refresh_token": "x"}, "/internal/refresh"),
    ("POST", "/auth/email/verify", {"token": "x"}, "/internal/email/verify"),
    ("POST", "/auth/password/reset", {"token": "x", "new_password": "battery staple"}, "/internal/password/reset"),
    ("POST", "/auth/password", CHANGE, "/internal/password"),
    ("POST", "/auth/totp/confirm", {"code": "123456"}, "/internal/totp/confirm"),
    ("DELETE", "/auth/totp", PASSWORD | CODE, "/internal/totp"),
    ("POST", "/auth/totp/recovery-codes", PASSWORD | CODE, "/internal/totp/recovery-codes"),
    ("POST", "/api-keys", KEY, "/internal/api-keys"),
]
"""What spends a token or a code, or makes something that would be there twice."""

TWICE: list[tuple[str, str, dict[str, Any], str]] = [
    ("POST", "/auth/login", {"email": "a@example.com", **PASSWORD}, "/internal/login"),
    ("POST", "/auth/logout", {}, "/internal/logout"),
    ("POST", "/auth/password/forgot", {"email": "a@example.com"}, "/internal/password/forgot"),
    ("POST", "/auth/totp", PASSWORD, "/internal/totp"),
]
"""What may arrive twice without harm, and is worth a second attempt."""


async def arrived(api: ApiClient, token: str, request: tuple[str, str, dict[str, Any], str]) -> tuple[int, int]:
    """The status of a request whose connections to auth all break, and how often auth got it."""
    method, path, body, behind = request
    api.behind.auth.broken_at = behind
    response = await api.call(method, f"/api/v1{path}", token=token, json=body)
    return response.status, len(api.behind.auth.calls_to(method, behind))


@pytest.mark.parametrize("request_", ONCE, ids=lambda each: f"{each[0]} {each[1]}")
async def test_what_is_spent_arrives_once(
    api: ApiClient, token: str, request_: tuple[str, str, dict[str, Any], str]
) -> None:
    """A refresh token, a code or the token of an e-mail is not sent again: the second use would look like a theft."""
    assert (504, 1) == await arrived(api, token, request_)


@pytest.mark.parametrize("request_", TWICE, ids=lambda each: f"{each[0]} {each[1]}")
async def test_the_rest_is_tried_again(
    api: ApiClient, token: str, request_: tuple[str, str, dict[str, Any], str]
) -> None:
    """Once, and no more often."""
    assert (504, 2) == await arrived(api, token, request_)


async def test_ending_a_session_is_tried_again(api: ApiClient, token: str) -> None:
    """A session that ends twice has ended."""
    session_id = str(new_id())
    api.behind.auth.broken_at = "/internal/sessions/end"

    assert 504 == (await api.call("DELETE", f"/api/v1/auth/sessions/{session_id}", token=token)).status
    assert 2 == len(api.behind.auth.calls_to("POST", "/internal/sessions/end"))
