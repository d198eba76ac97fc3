"""Access rules of all operations, stated independently of the rows: a changed row must not break them."""

from __future__ import annotations

import pytest

from services.contracts.api_keys import Scope
from services.gateway.api import OPERATIONS
from services.gateway.operations import BASE, Access, Operation

PUBLIC = {
    "POST /auth/register", "POST /auth/login", "POST /auth/refresh", "POST /auth/email/verify", "POST /auth/password/forgot",
    "POST /auth/password/reset", "GET /currencies", "GET /.well-known/jwks.json", "GET /openapi.json", "GET /docs", "GET /",
}  # fmt: skip

MOVES_MONEY = {"POST /transfers", "POST /transfers/{id}/cancel"}

LIMITED = {
    "POST /auth/register": "register",
    "POST /auth/login": "login",
    "POST /auth/email/verify": "email_tokens",
    "POST /auth/password/reset": "email_tokens",
    "POST /auth/email/verification": "emails",
    "POST /auth/password/forgot": "emails",
    "GET /recipients": "recipients",
}


def name_of(row: Operation) -> str:
    return f"{row.method} {row.path.removeprefix(BASE)}"


def scope_by_rule(name: str) -> Scope | None:
    """The scope that an API key needs for this operation; None if API keys are not accepted."""
    method, path = name.split(" ")
    if name in PUBLIC or path.startswith(("/auth/", "/api-keys")):
        return None
    if path.startswith("/ops/"):
        return Scope.OPERATE
    if name in MOVES_MONEY:
        return Scope.TRANSFER
    return Scope.READ if method == "GET" else None


@pytest.mark.parametrize("row", OPERATIONS, ids=name_of)
def test_access_follows_the_path(row: Operation) -> None:
    """Paths below `/ops` are for operators, a short list is public, everything else requires a logged-in user."""
    name = name_of(row)
    expected = Access.PUBLIC if name in PUBLIC else Access.OPERATOR if "/ops/" in name else Access.USER

    assert expected is row.access


@pytest.mark.parametrize("row", OPERATIONS, ids=name_of)
def test_scopes_follow_the_method_and_path(row: Operation) -> None:
    """`read` is for reading, `transfer` for moving money only, and account endpoints accept no API keys."""
    assert scope_by_rule(name_of(row)) is row.scope


@pytest.mark.parametrize("row", OPERATIONS, ids=name_of)
def test_guessable_endpoints_have_limits(row: Operation) -> None:
    """Logins, registrations, emails and look-ups of users each have a limit of their own."""
    assert LIMITED.get(name_of(row)) == row.limit


def test_every_rule_names_an_operation() -> None:
    """No rule above names a removed operation."""
    names = {name_of(row) for row in OPERATIONS}

    assert names >= PUBLIC | MOVES_MONEY | set(LIMITED)
