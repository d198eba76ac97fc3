"""The transfer list against a naive model: every combination of filters, page by page, over the real handler and database."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from services.chassis import server
from services.chassis.database import close_pool
from services.contracts.identifiers import new_id
from services.contracts.messages import format_time
from services.transaction import api
from services.transaction.app import READ_SETTINGS
from tests.harness.databases import TestDatabase

SEED = 10
ROWS = 240
PAGE = 7
START = datetime(2026, 1, 1, tzinfo=UTC)
USERS = [UUID(int=n + 1) for n in range(4)]
OTHER = UUID(int=99)
WALLETS = {user: [UUID(int=user.int * 16 + n) for n in range(2)] for user in USERS}
EXTERNAL = UUID(int=0xE000)
STATUSES = ("PENDING", "COMPLETED", "FAILED")
INSERT = """
INSERT INTO transfers (id, user_id, recipient_id, kind, status, amount, currency, from_wallet_id, to_wallet_id, metadata,
                       request_hash, request_id, created_at, expires_at, completed_at, failed_at, failure_code)
VALUES ($1, $2, $3, $4, $5::text, 1, 'USD', $6, $7, '{"a": 1}', '', 'r', $8::timestamptz, $8,
        CASE $5::text WHEN 'COMPLETED' THEN $8 END, CASE $5::text WHEN 'FAILED' THEN $8 END,
        CASE $5::text WHEN 'FAILED' THEN 'x' END)
"""


class Row(NamedTuple):
    """The fields of a transfer that the list depends on."""

    id: UUID
    user_id: UUID
    recipient_id: UUID
    kind: str
    status: str
    from_wallet_id: UUID
    to_wallet_id: UUID
    created_at: datetime


def make_rows(rng: random.Random) -> list[Row]:
    """Transfers between few wallets at few times; ids are in another order than the times."""
    made = []
    for _ in range(ROWS):
        sender, recipient = rng.choice(USERS), rng.choice(USERS)
        kind = rng.choice(["transfer", "transfer", "deposit"])
        to_wallet = rng.choice(WALLETS[recipient])
        source = EXTERNAL if kind == "deposit" else rng.choice([w for w in WALLETS[sender] if w != to_wallet])
        moment = START + timedelta(microseconds=rng.randrange(40))
        made.append(Row(new_id(), sender, recipient, kind, rng.choice(STATUSES), source, to_wallet, moment))
    return rng.sample(made, len(made))


def model(rows: list[Row], viewer: UUID, query: dict[str, Any]) -> list[str]:
    """Ids of the listed transfers, in order."""
    held = [
        row
        for row in rows
        if (row.user_id == viewer or (row.recipient_id == viewer and row.status == "COMPLETED"))
        and query.get("status") in (None, row.status)
        and query.get("kind") in (None, row.kind)
        and query.get("wallet_id") in (None, row.from_wallet_id, row.to_wallet_id)
        and (query.get("from") is None or row.created_at >= query["from"])
        and (query.get("to") is None or row.created_at < query["to"])
    ]
    return [str(row.id) for row in sorted(held, key=lambda row: (row.created_at, row.id), reverse=True)]


def filters() -> Iterator[tuple[UUID, dict[str, Any]]]:
    """Each filter alone and with the others: a user's own wallet, another's, and that of deposits."""
    early, late = START + timedelta(microseconds=10), START + timedelta(microseconds=25)
    for viewer, status, kind, wallet, since, until in product(
        (USERS[0], USERS[1], OTHER),
        (None, *STATUSES),
        (None, "transfer", "deposit"),
        (None, WALLETS[USERS[0]][0], WALLETS[USERS[1]][1], EXTERNAL),
        (None, early),
        (None, late),
    ):
        query = {"status": status, "kind": kind, "wallet_id": wallet, "from": since, "to": until}
        yield viewer, {name: value for name, value in query.items() if value is not None}


@pytest.fixture
async def client(transaction_database: TestDatabase) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    """Only the handler of the list: its callers are tested elsewhere."""
    pool = await transaction_database.pool(**READ_SETTINGS)
    app = server.application("transaction")
    app[api.READ_POOL] = pool
    app.router.add_get("/transfers", api.list_transfers)
    async with TestClient(TestServer(app)) as opened:
        yield opened
    await close_pool(pool)


@pytest.fixture
async def rows(transaction_database: TestDatabase) -> list[Row]:
    """Random transfers, in the database too."""
    made = make_rows(random.Random(SEED))
    pool = await transaction_database.pool()
    async with pool.acquire() as connection:
        await connection.executemany(INSERT, made)
    await close_pool(pool)
    return made


async def page(client: TestClient[web.Request, web.Application], viewer: UUID, query: dict[str, Any]) -> Any:
    """One page, as the gateway requests it."""
    params = {name: format_time(value) if isinstance(value, datetime) else str(value) for name, value in query.items()}
    response = await client.get("/transfers", params={"viewer": str(viewer), **params})
    assert response.status == 200, await response.text()
    return await response.json()


async def test_every_combination_of_filters(client: TestClient[web.Request, web.Application], rows: list[Row]) -> None:
    """Status, kind, wallet on either side and period, alone and together: exactly the visible transfers, newest first."""
    sizes = set()
    for viewer, query in filters():
        found = (await page(client, viewer, query | {"limit": 200}))["items"]
        expected = model(rows, viewer, query)
        assert expected == [item["id"] for item in found], (viewer, query)
        sizes.add(len(expected))
    assert {0, 1} < sizes, "some combinations hold nothing, some one transfer, some many"


async def test_pages_have_no_gap_or_repeat(client: TestClient[web.Request, web.Application], rows: list[Row]) -> None:
    """Pages of seven follow each other without a gap or a repeat, also between transfers of one microsecond."""
    early = START + timedelta(microseconds=5)
    lists: list[tuple[UUID, dict[str, Any]]] = [
        (USERS[0], {}),
        (USERS[1], {"status": "COMPLETED"}),
        (USERS[2], {"wallet_id": WALLETS[USERS[2]][0], "from": early}),
        (USERS[3], {"to": START + timedelta(microseconds=35), "kind": "transfer"}),
        (USERS[3], {"wallet_id": EXTERNAL}),
    ]
    for viewer, query in lists:
        seen: list[str] = []
        cursor: dict[str, Any] = {}
        while True:
            part = await page(client, viewer, query | cursor | {"limit": PAGE})
            seen += [item["id"] for item in part["items"]]
            if part["next_cursor"] is None:
                break
            assert PAGE == len(part["items"])
            cursor = {"cursor": part["next_cursor"]}
        assert model(rows, viewer, query) == seen, (viewer, query)
        assert PAGE < len(seen)


async def test_metadata_is_the_senders(client: TestClient[web.Request, web.Application], rows: list[Row]) -> None:
    """Only the sender sees the metadata of a transfer."""
    viewer = USERS[0]
    own = {str(row.id) for row in rows if row.user_id == viewer}
    items = (await page(client, viewer, {"limit": 200}))["items"]

    assert {item["id"] for item in items if item["metadata"] is not None} == own & {item["id"] for item in items}
    assert own < {item["id"] for item in items}


async def test_cursor_of_another_list_is_refused(client: TestClient[web.Request, web.Application]) -> None:
    """A text that is not a cursor, or the cursor of another list, is 422 and named."""
    for cursor in ("nonsense", "aWQ6MDE5MTE", "", "eyJhdXRoIjoieCJ9"):
        response = await client.get("/transfers", params={"viewer": str(USERS[0]), "cursor": cursor})
        assert 422 == response.status
        assert ["cursor"] == [error["field"] for error in (await response.json())["errors"]]
