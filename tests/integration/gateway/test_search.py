"""The search of operators at the gateway: what it accepts, and what it sends to the transaction service."""

from __future__ import annotations

from typing import Any

import pytest

from services.contracts.identifiers import new_id
from tests.integration.gateway.conftest import ApiClient
from tests.integration.gateway.upstream_fakes import problem

SEARCH = "/api/v1/ops/transfers"
INTERNAL = "/internal/search"
NOTHING: dict[str, Any] = {"items": [], "next_cursor": None, "has_more": False, "searched_from": None}


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ({}, {"pending_seconds": "5"}),
        ({"pending_seconds": "60", "limit": "3"}, {"pending_seconds": "60", "limit": "3"}),
        ({"idempotency_key": "k", "to": "2026-01-31T13:00:00+01:00"}, {"idempotency_key": "k", "to": "2026-01-31T12:00:00Z"}),
        ({"request_id": "order-1"}, {"request_id": "order-1"}),
    ],
)  # fmt: skip
async def test_what_is_known(api: ApiClient, operator_token: str, query: dict[str, str], sent: dict[str, str]) -> None:
    """One criterion with a period and a page size, or none for transfers that take too long."""
    api.fakes.transaction.responses[f"GET {INTERNAL}"] = NOTHING
    response = await api.call("GET", SEARCH, token=operator_token, params=query)

    [call] = api.fakes.transaction.calls_to("GET", INTERNAL)
    assert (200, {"limit": "50", "pending_seconds": "5"} | sent) == (response.status, call.query)


async def test_a_user_is_named_by_id_or_address(api: ApiClient, operator_token: str) -> None:
    """An e-mail address is looked up at auth; an id is not. An unknown address is reported as such."""
    user_id = str(new_id())
    api.fakes.transaction.responses[f"GET {INTERNAL}"] = NOTHING
    api.fakes.auth.responses["POST /internal/users/find"] = {"id": user_id}
    found = [await api.call("GET", SEARCH, token=operator_token, params={"user": user}) for user in (user_id, "a@b.c")]
    queries = [call.query["user_id"] for call in api.fakes.transaction.calls_to("GET", INTERNAL)]
    lookups = api.fakes.auth.calls_to("POST", "/internal/users/find")
    api.fakes.auth.responses["POST /internal/users/find"] = problem(404, "user_not_found")
    unknown = await api.call("GET", SEARCH, token=operator_token, params={"user": "x@b.c"})

    assert ([200, 200], [user_id] * 2, 1) == ([one.status for one in found], queries, len(lookups))
    assert (404, "user_not_found") == (unknown.status, unknown.json()["code"])


@pytest.mark.parametrize(
    "query",
    [
        {"id": str(new_id()), "request_id": "r"},
        {"user": "a@b.c", "request_id": "r"},
        {"id": "1"},
        {"user": "alice"},
        {"request_id": "a b"},
        {"idempotency_key": ""},
        {"pending_seconds": "-1"},
        {"pending_seconds": "1.5"},
        {"unknown": "1"},
    ],
)
async def test_what_is_refused(api: ApiClient, operator_token: str, query: dict[str, str]) -> None:
    """Contradictory and malformed criteria are refused, with the field, before any service is called."""
    response = await api.call("GET", SEARCH, token=operator_token, params=query)

    assert (422, []) == (response.status, api.fakes.transaction.calls_to("GET", INTERNAL))
    assert response.json()["errors"]


async def test_only_operators_search(api: ApiClient, token: str) -> None:
    """A user gets 403, and no service is called."""
    response = await api.call("GET", SEARCH, token=token, params={"user": "bob@example.com"})

    assert (403, "operator_required") == (response.status, response.json()["code"])
    assert [] == api.fakes.transaction.calls_to("GET", INTERNAL)


async def test_during_an_upgrade(api: ApiClient, operator_token: str) -> None:
    """A transaction service of the release before does not know the search: 503, not a fault."""
    api.fakes.transaction.responses[f"GET {INTERNAL}"] = problem(404, "not_found")

    response = await api.call("GET", SEARCH, token=operator_token)

    assert (503, "upstream_unavailable") == (response.status, response.json()["code"])
