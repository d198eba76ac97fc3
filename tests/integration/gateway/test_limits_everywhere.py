"""Every operation counts for its client network, for its user, and for its own limit if it has one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from multidict import CIMultiDictProxy
from redis.asyncio import Redis as Client

from services.contracts.identifiers import new_id
from services.gateway.api import OPERATIONS
from services.gateway.operations import Access, Operation
from services.gateway.security import rate_limit
from tests.integration.gateway.conftest import ApiClient, Open

ROWS = [row for row in OPERATIONS if row.handler is not None]
ENOUGH = 1_000_000

Seen = tuple[int, CIMultiDictProxy[str]]


@pytest.fixture(autouse=True)
def _empty(redis_client: Client, patient: None) -> None:
    """Every test starts without counts and with a working Redis."""


def _one_of(names: Iterable[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits of these names admit one request, the others any number."""
    made = {name: replace(limit, amount=ENOUGH) for name, limit in rate_limit.LIMITS.items()}
    made |= {name: replace(made[name], amount=1) for name in names}
    monkeypatch.setattr(rate_limit, "limits_of", lambda _settings: made)


def _session(api: ApiClient, row: Operation, user_id: str) -> str:
    return api.fakes.auth.token(sub=user_id, role="operator" if row.access is Access.OPERATOR else "user")


async def _send(api: ApiClient, row: Operation, *, address: str, token: str) -> Seen:
    """Status and headers of an empty request; the body, a stream for instance, is not read."""
    headers = {"X-Forwarded-For": address}
    if row.access is not Access.PUBLIC:
        headers["Authorization"] = f"Bearer {token}"
    response = await api.session.request(row.method, api.url + row.path.replace("{id}", str(new_id())), headers=headers)
    response.close()
    return response.status, response.headers


def _name(row: Operation) -> str:
    return f"{row.method} {row.path}"


Show = Callable[[ApiClient, Operation], list[str]]
"""The credentials of two requests of a row: the tokens of sessions, or keys."""


def _two_users(api: ApiClient, row: Operation) -> list[str]:
    return [_session(api, row, str(new_id())) for _ in range(2)]


def _one_user(api: ApiClient, row: Operation) -> list[str]:
    # Two sessions: a request may end its own.
    user_id = str(new_id())
    return [_session(api, row, user_id) for _ in range(2)]


async def _twice(
    open_client: Open, rows: list[Operation], show: Show, *, from_one_address: bool = False
) -> dict[str, list[Seen]]:
    """The responses of each row to two requests with the same credentials, or only the same address."""
    async with open_client(rate_limits="on", trusted_proxies="127.0.0.0/8") as api:

        async def ask(number: int, row: Operation) -> list[Seen]:
            addresses = [f"198.51.100.{number}", f"{'198.51' if from_one_address else '203.0'}.100.{number}"]
            shown = zip(addresses, show(api, row), strict=True)
            return [await _send(api, row, address=address, token=token) for address, token in shown]

        seen = await asyncio.gather(*(ask(number, row) for number, row in enumerate(rows)))
    return {_name(row): each for row, each in zip(rows, seen, strict=True)}


def _assert_second_refused(seen: dict[str, list[Seen]], names: dict[str, str]) -> None:
    for row, ((first, headers_of_first), (second, headers)) in seen.items():
        limit = rate_limit.LIMITS[names[row]]
        assert 429 != first, row
        assert "RateLimit" in headers_of_first, row
        assert 429 == second, row
        assert "application/problem+json" == headers["Content-Type"].partition(";")[0], row
        seconds = int(headers["Retry-After"])
        assert 1 <= seconds <= limit.seconds, row
        assert f'"{limit.name}";r=0;t={seconds}' == headers["RateLimit"], row
        assert f'"{limit.name}";q=1;w={limit.seconds}' == headers["RateLimit-Policy"], row


async def test_every_row_counts_for_its_address(open_client: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit of one, the second request from an address is refused on every route, whatever its token."""
    _one_of(["address"], monkeypatch)

    seen = await _twice(open_client, ROWS, _two_users, from_one_address=True)

    assert len(ROWS) == len(seen) > 30
    _assert_second_refused(seen, dict.fromkeys(seen, "address"))


async def test_every_row_counts_for_its_user(open_client: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit of one, the second request of a user is refused on every route with authentication, from any address."""
    _one_of(["user"], monkeypatch)
    rows = [row for row in ROWS if row.access is not Access.PUBLIC]

    seen = await _twice(open_client, rows, _one_user)

    assert len(rows) == len(seen) > 20
    _assert_second_refused(seen, dict.fromkeys(seen, "user"))


async def test_every_row_counts_for_its_key(open_client: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit of one, the second request with a key is refused on every route that accepts keys, from any address."""
    _one_of(["key"], monkeypatch)
    rows = [row for row in ROWS if row.scope is not None]

    def one_key(api: ApiClient, row: Operation) -> list[str]:
        role = "operator" if row.access is Access.OPERATOR else "user"
        return [api.fakes.auth.api_key(str(row.scope), role=role)] * 2

    seen = await _twice(open_client, rows, one_key)

    assert len(rows) == len(seen) > 10
    _assert_second_refused(seen, dict.fromkeys(seen, "key"))


@pytest.mark.parametrize("access", [Access.PUBLIC, Access.USER])
async def test_rows_with_a_limit_of_their_own(
    open_client: Open, monkeypatch: pytest.MonkeyPatch, access: Access
) -> None:
    """It counts for the user, and for the address on public routes."""
    # Rows that share a limit would count together: take one of each.
    rows = list({row.limit: row for row in ROWS if row.limit and row.access is access}.values())
    names = {_name(row): str(row.limit) for row in rows}
    _one_of(names.values(), monkeypatch)

    seen = await _twice(open_client, rows, _one_user, from_one_address=access is Access.PUBLIC)

    assert rows
    _assert_second_refused(seen, names)


async def test_keys_of_one_user_share_a_limit_of_a_route(open_client: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """More keys do not allow more look-ups of users."""
    _one_of(["recipients"], monkeypatch)
    user_id = str(new_id())
    [row] = [row for row in ROWS if row.limit == "recipients"]
    async with open_client(rate_limits="on") as api:
        keys = [api.fakes.auth.api_key("read", user_id=user_id) for _ in range(2)]
        statuses = [(await _send(api, row, address="", token=key))[0] for key in keys]

    assert [422, 429] == statuses
