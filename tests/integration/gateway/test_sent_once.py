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
"""Requests that spend a token or a code, or create something that would exist twice."""

TWICE: list[tuple[str, str, dict[str, Any], str]] = [
    ("POST", "/auth/login", {"email": "a@example.com", **PASSWORD}, "/internal/login"),
    ("POST", "/auth/logout", {}, "/internal/logout"),
    ("POST", "/auth/password/forgot", {"email": "a@example.com"}, "/internal/password/forgot"),
    ("POST", "/auth/totp", PASSWORD, "/internal/totp"),
]
"""Requests that may arrive twice, and are retried."""


async def arrived(api: ApiClient, token: str, request: tuple[str, str, dict[str, Any], str]) -> tuple[int, int]:
    """The status of a request whose connections to auth all break, and how often auth received it."""
    method, path, body, fakes = request
    api.fakes.auth.broken_at = fakes
    response = await api.call(method, f"/api/v1{path}", token=token, json=body)
    return response.status, len(api.fakes.auth.calls_to(method, fakes))


@pytest.mark.parametrize("request_", ONCE, ids=lambda each: f"{each[0]} {each[1]}")
async def test_spending_requests_are_sent_once(
    api: ApiClient, token: str, request_: tuple[str, str, dict[str, Any], str]
) -> None:
    """A refresh token, a code or an email token is not sent again: the second use would look like theft."""
    assert (504, 1) == await arrived(api, token, request_)


@pytest.mark.parametrize("request_", TWICE, ids=lambda each: f"{each[0]} {each[1]}")
async def test_other_requests_are_retried(
    api: ApiClient, token: str, request_: tuple[str, str, dict[str, Any], str]
) -> None:
    """They are retried exactly once."""
    assert (504, 2) == await arrived(api, token, request_)


async def test_ending_a_session_is_retried(api: ApiClient, token: str) -> None:
    """Ending a session twice is harmless."""
    session_id = str(new_id())
    api.fakes.auth.broken_at = "/internal/sessions/end"

    assert 504 == (await api.call("DELETE", f"/api/v1/auth/sessions/{session_id}", token=token)).status
    assert 2 == len(api.fakes.auth.calls_to("POST", "/internal/sessions/end"))
