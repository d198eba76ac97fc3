"""Who may use which operation, said once more from the outside: rules that a changed row must not break."""

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
    """What an API key needs for an operation of this name; None where it takes none."""
    method, path = name.split(" ")
    if name in PUBLIC or path.startswith(("/auth/", "/api-keys")):
        return None
    if path.startswith("/ops/"):
        return Scope.OPERATE
    if name in MOVES_MONEY:
        return Scope.TRANSFER
    return Scope.READ if method == "GET" else None


@pytest.mark.parametrize("row", OPERATIONS, ids=name_of)
def test_access_follows_the_address(row: Operation) -> None:
    """What is below `/ops` is for operators, a short list is for everybody, and all else is for users who are logged in."""
    name = name_of(row)
    expected = Access.PUBLIC if name in PUBLIC else Access.OPERATOR if "/ops/" in name else Access.USER

    assert expected is row.access


@pytest.mark.parametrize("row", OPERATIONS, ids=name_of)
def test_scopes_follow_what_is_done(row: Operation) -> None:
    """A key that reads only reads, one that transfers moves money and nothing else, and accounts are no business of a key."""
    assert scope_by_rule(name_of(row)) is row.scope


@pytest.mark.parametrize("row", OPERATIONS, ids=name_of)
def test_limits_stand_where_something_can_be_guessed(row: Operation) -> None:
    """Logins, registrations, e-mails and look-ups of people have a limit of their own, and each its own one."""
    assert LIMITED.get(name_of(row)) == row.limit


def test_every_rule_is_about_an_operation() -> None:
    """No name above is that of an operation which is gone."""
    names = {name_of(row) for row in OPERATIONS}

    assert names >= PUBLIC | MOVES_MONEY | set(LIMITED)
