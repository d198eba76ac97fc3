"""The search for operators over the real handler and database: what each criterion finds, and how many rows it reads."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from services.chassis import server
from services.chassis.database import Pool, close_pool
from services.contracts.identifiers import first_id_at, new_id
from services.contracts.messages import format_time
from services.transaction import api, commands_search, store_search
from services.transaction.app import READ_SETTINGS
from services.transaction.store_search import Range
from tests.harness import plans
from tests.harness.databases import TestDatabase

NOW = datetime.now(UTC)
ALICE, BOB = new_id(), new_id()
INSERT = """
WITH recorded AS (INSERT INTO idempotency_keys (user_id, key, request_hash, hash_version, resource_id) VALUES ($2, $3, '', 1, $1))
INSERT INTO transfers (id, user_id, recipient_id, kind, status, amount, currency, from_wallet_id, to_wallet_id, request_hash,
                       request_id, created_at, expires_at, completed_at, conflicted_at)
VALUES ($1, $2, $4, 'transfer', $5::text, 1, 'USD', gen_random_uuid(), gen_random_uuid(), '', $6, $7::timestamptz,
        $7 + interval '60 s', CASE $5::text WHEN 'COMPLETED' THEN $7::timestamptz END, $8)
"""
MANY = """
INSERT INTO transfers (id, user_id, recipient_id, kind, status, amount, currency, from_wallet_id, to_wallet_id, request_hash,
                       request_id, created_at, expires_at, completed_at, finalized_at)
SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'transfer', 'COMPLETED', 1, 'USD', gen_random_uuid(),
       gen_random_uuid(), '', gen_random_uuid()::text, now(), now(), now(), now()
FROM generate_series(1, $1::integer)
"""

Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def pool(transaction_database: TestDatabase) -> AsyncIterator[Pool]:
    opened = await transaction_database.pool(**READ_SETTINGS)
    yield opened
    await close_pool(opened)


@pytest.fixture
async def client(pool: Pool) -> AsyncIterator[Client]:
    """Only the handler of the search: its callers are tested elsewhere."""
    app = server.application("transaction")
    app[api.READ_POOL] = pool
    app.router.add_get("/search", api.search)
    async with TestClient(TestServer(app)) as opened:
        yield opened


async def add(pool: Pool, *, age_seconds: float = 0.0, status: str = "COMPLETED", **given: Any) -> str:
    """Add a transfer of this age with its key; the id is of the same time."""
    at = NOW - timedelta(seconds=age_seconds)
    id_ = UUID(int=first_id_at(at.timestamp()).int | (new_id().int & 0xFFFFFFFF))
    await pool.execute(
        INSERT,
        id_,
        given.get("user_id", ALICE),
        given.get("key", str(uuid4())),
        BOB,
        status,
        given.get("request_id", str(uuid4())),
        at,
        given.get("conflicted_at"),
    )
    return str(id_)


async def find(client: Client, **params: Any) -> Any:
    """A page, as the gateway requests it."""
    response = await client.get("/search", params={name: str(value) for name, value in params.items()})
    assert response.status == 200, await response.text()
    return await response.json()


def ids(found: Any) -> list[str]:
    return [item["id"] for item in found["items"]]


async def test_by_id(client: Client, pool: Pool) -> None:
    """An id finds its transfer with the sender, the recipient and the request; an unknown one finds nothing."""
    transfer_id = await add(pool, request_id="order-1")
    await add(pool)

    [item] = (await find(client, id=transfer_id))["items"]

    assert (transfer_id, str(ALICE), str(BOB), "order-1") == (
        item["id"], item["user_id"], item["recipient_id"], item["request_id"],
    )  # fmt: skip
    assert (None, None, False) == (item["waiting_for"], item["summary"], item["conflicted"])
    assert [] == ids(await find(client, id=new_id()))


async def test_by_key(client: Client, pool: Pool) -> None:
    """A key finds the transfers of all users who used it, and with a user only that user's, however old it is."""
    alices = await add(pool, key="lunch", age_seconds=10)
    bobs = await add(pool, key="lunch", user_id=BOB)
    await add(pool, key="dinner")

    assert [bobs, alices] == ids(await find(client, idempotency_key="lunch"))
    assert [alices] == ids(await find(client, idempotency_key="lunch", user_id=ALICE))
    assert [] == ids(await find(client, idempotency_key="breakfast"))


async def test_by_user(client: Client, pool: Pool) -> None:
    """A user's transfers are those sent in any state and those received, page by page."""
    sent = [await add(pool, status=status, age_seconds=age) for age, status in enumerate(["PENDING", "COMPLETED"])]
    await add(pool, user_id=new_id(), status="PENDING")

    first = await find(client, user_id=ALICE, limit=1)
    second = await find(client, user_id=ALICE, limit=1, cursor=first["next_cursor"])
    received = await find(client, user_id=BOB)

    assert [sent[:1], sent[1:]] == [ids(first), ids(second)]
    assert (True, False, None) == (first["has_more"], second["has_more"], second["next_cursor"])
    assert [sent[1]] == ids(received)


async def test_by_request(client: Client, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request id is searched among the newest transfers before `to`; one that contains its time, at any age."""
    day = 86400.0
    at = (NOW - timedelta(days=1)).timestamp()
    generated = str(UUID(int=first_id_at(at - 1).int | 5))
    old = await add(pool, request_id=generated, age_seconds=day)
    foreign = await add(pool, request_id="order-7", age_seconds=day - 1)
    newer = [await add(pool, age_seconds=age) for age in (2, 1, 0)]
    monkeypatch.setattr(commands_search, "SEARCHED_MAX", 2)

    recent = await find(client, request_id="order-7")
    earlier = await find(client, request_id="order-7", to=recent["searched_from"])

    assert [old] == ids(await find(client, request_id=generated))
    assert ([], format_time(NOW - timedelta(seconds=2))) == (ids(recent), recent["searched_from"])
    assert [foreign] == ids(earlier)
    assert None is (await find(client, request_id="order-7", to=format_time(NOW - timedelta(hours=1))))["searched_from"]
    assert 3 == len(newer)


async def test_a_request_id_of_another_time(client: Client, pool: Pool) -> None:
    """A client may choose a UUID of another time as its request id: it is found among the newest transfers."""
    chosen = str(first_id_at(1_000_000_000.0))
    transfer_id = await add(pool, request_id=chosen)

    assert [transfer_id] == ids(await find(client, request_id=chosen))


async def test_transfers_that_take_too_long(client: Client, pool: Pool) -> None:
    """Without an id: PENDING for longer than so many seconds, the oldest first, each with what it waits for."""
    await add(pool, age_seconds=9000)
    await add(pool, status="PENDING", age_seconds=1)
    expired = await add(pool, status="PENDING", age_seconds=8000)
    conflicted = await add(pool, status="PENDING", age_seconds=7000, conflicted_at=NOW)

    found = await find(client, pending_seconds=5000)

    assert [expired, conflicted] == ids(found)
    assert ["reversal", None] == [item["waiting_for"] for item in found["items"]]
    assert [False, True] == [item["conflicted"] for item in found["items"]]
    assert all(item["summary"] for item in found["items"])
    assert (1, True) == (len(ids(few := await find(client, pending_seconds=5000, limit=1))), few["has_more"])


async def test_a_search_reads_no_more_than_its_range(pool: Pool, transaction_database: TestDatabase) -> None:
    """Of 20,000 transfers a search reads only those of its range, by index, whatever the plan."""
    connection = await plans.superuser(transaction_database.superuser_url)
    await connection.execute(MANY, 20_000)
    await connection.execute("ANALYZE transfers")
    newest = await connection.fetch("SELECT id FROM transfers ORDER BY id DESC LIMIT 1001")
    for name, value in READ_SETTINGS.items():
        await connection.execute(f"SET {name} = '{value}'")
    within, end = Range(newest[1000]["id"], UUID(int=2**128 - 1)), UUID(int=2**128 - 1)
    statements = store_search.statements
    queries: dict[str, tuple[str, list[Any], int]] = {
        "request": (statements.list_by_request, [*within, "order-1", 51], 1100),
        "key": (statements.list_by_key, [*within, "lunch", 51], 1100),
        "floor": (statements.find_search_floor, [UUID(int=0), end, 1000], 1100),
        "late": (statements.list_pending_for, [5.0, 51], 10),
    }
    await _check(connection, queries)
    await connection.close()


async def _check(connection: asyncpg.Connection, queries: dict[str, tuple[str, list[Any], int]]) -> None:
    examiner = plans.Examiner(connection)
    for mode in plans.MODES:
        await examiner.use(mode)
        for name, (statement, arguments, rows_max) in queries.items():
            work = await examiner.examine(statement, arguments)
            assert not work.scanned, (mode, name, json.loads(work.plan))
            assert work.rows <= rows_max, (mode, name, work.plan)
