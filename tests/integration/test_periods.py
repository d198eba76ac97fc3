"""Guarantee 59b: periods of every list, on real databases: `from` is inclusive, `to` is exclusive, by one implementation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from services.auth import api as auth_api
from services.chassis import audit, server
from services.chassis.database import close_pool
from services.chassis.problems import Handler
from services.chassis.replica import Reader
from services.contracts.identifiers import new_id
from services.contracts.messages import format_time
from services.notification import api as notification_api
from services.transaction import api as transaction_api
from services.transaction.store import Draft, accept_transfers
from services.transaction.transfer import Transfer
from services.wallet import api as wallet_api
from services.wallet.app import PLANNER
from tests.harness.databases import Templates, TestDatabase
from tests.harness.ledgers import fund, post, posting

TOGETHER = 72
"""Rows with the same time, as a batch writes them."""

BEFORE = 3
AFTER = 4
TICK = timedelta(microseconds=1)
LISTS = (
    "statement",
    "transfers sent",
    "transfers received",
    "audit of auth",
    "audit of wallet",
    "audit of transaction",
    "audit of notification",
)

Filled = tuple[web.Application, str, dict[str, str], datetime]
"""The application, the path of the list, its fixed parameters and the time."""

RequestPage = Callable[..., Awaitable[tuple[int, Any]]]


class List:
    """One list over HTTP, and the time that most of its rows share."""

    def __init__(self, request_page: RequestPage, moment: datetime) -> None:
        self.request_page, self.moment = request_page, moment

    async def count(self, since: datetime | None = None, until: datetime | None = None) -> int:
        """The number of distinct rows in the period; no row may appear twice."""
        limits = {"from": since, "to": until}
        status, document = await self.request_page(
            {name: format_time(at) for name, at in limits.items() if at is not None}
        )
        assert status == 200, document
        ids = [item.get("seq") or item["id"] for item in document["items"]]
        assert len(ids) == len(set(ids))
        return len(ids)


@pytest.fixture(params=LISTS)
async def listed(request: pytest.FixtureRequest, templates: Templates) -> AsyncIterator[List]:
    """Three rows, 72 of the same time, and four more, each side a microsecond away."""
    kind = request.param
    service = {"statement": "wallet"}.get(kind, kind.rpartition(" ")[2] if "audit" in kind else "transaction")
    database = await templates.fresh(service)
    app, path, fixed, moment = await _FILL[kind.partition(" ")[0]](database, service, kind)
    async with TestClient(TestServer(app)) as client:

        async def request_page(params: dict[str, str]) -> tuple[int, Any]:
            response = await client.get(path, params=fixed | params | {"limit": "200"})
            return response.status, await response.json()

        yield List(request_page, moment)
    await templates.drop(database)


async def test_adjacent_periods_hold_every_row_once(listed: List) -> None:
    """Cut at the time of the 72 rows, or next to it, each row is in exactly one of the two periods."""
    whole = BEFORE + TOGETHER + AFTER
    assert whole == await listed.count()
    for cut, below in ((listed.moment, BEFORE), (listed.moment + TICK, BEFORE + TOGETHER)):
        assert (below, whole - below) == (await listed.count(until=cut), await listed.count(since=cut)), cut
    assert TOGETHER == await listed.count(listed.moment, listed.moment + TICK)


async def test_an_empty_period_is_empty(listed: List) -> None:
    """With `from` equal to `to` the list is empty, also at the time of the 72 rows."""
    assert 0 == await listed.count(listed.moment, listed.moment)


async def test_a_period_whose_end_is_before_its_start_is_refused(listed: List) -> None:
    """`to` before `from` is 422 and names `to`; so is a time that is malformed or has no zone."""
    turned = {"from": format_time(listed.moment), "to": format_time(listed.moment - TICK)}
    for params, field in ((turned, "to"), ({"from": "yesterday"}, "from"), ({"to": "1700000000"}, "to")):
        status, document = await listed.request_page(params)
        assert (422, [field]) == (status, [error["field"] for error in document["errors"]]), params


def _app(service: str, path: str, handler: Handler, pool_key: Any, pool: Any) -> web.Application:
    app = server.application(service)
    app[pool_key] = pool
    app.router.add_get(path, handler)

    async def close(_: web.Application) -> None:
        await close_pool(pool)

    app.on_cleanup.append(close)
    return app


async def _fill_statement(database: TestDatabase, *_: str) -> Filled:
    pool = await database.pool(**PLANNER)
    source, destination = await fund(pool, [1000, 0])
    for count in (BEFORE, TOGETHER, AFTER):
        await post(pool, *(posting(source, destination, 1) for _ in range(count)))
    times = await pool.fetch(
        "SELECT created_at, count(*) FROM entries WHERE account_id = $1 GROUP BY 1 ORDER BY 1", destination
    )
    assert [BEFORE, TOGETHER, AFTER] == [row["count"] for row in times]
    app = _app("wallet", "/wallets/{id}/statement", wallet_api.get_statement, wallet_api.READ_POOL, pool)
    app[wallet_api.READER] = Reader(pool)
    return app, f"/wallets/{destination}/statement", {}, times[1]["created_at"]


async def _fill_transfers(database: TestDatabase, _: str, kind: str) -> Filled:
    pool = await database.pool()
    moment = (await pool.fetchval("SELECT clock_timestamp()")) - timedelta(minutes=1)
    sender, recipient = new_id(), new_id()
    made = [_transfer(sender, recipient, at) for at in _times(moment)]
    async with pool.acquire() as connection:
        drafts = [Draft(one, str(one.id), b"", "request", None) for one in made]
        await accept_transfers(connection, drafts, ["{}"] * len(drafts), notify=False)
    await pool.execute(
        "UPDATE transfers SET status = 'COMPLETED', completed_at = created_at, finalized_at = created_at"
    )
    app = _app("transaction", "/transfers", transaction_api.list_transfers, transaction_api.READ_POOL, pool)
    return app, "/transfers", {"viewer": str(sender if kind.endswith("sent") else recipient)}, moment


def _transfer(sender: UUID, recipient: UUID, at: datetime) -> Transfer:
    return Transfer(
        id=new_id(), user_id=sender, recipient_id=recipient, kind="transfer", status="PENDING", amount=1, currency="USD",
        from_wallet_id=new_id(), to_wallet_id=new_id(), description=None, metadata=None, request_hash=b"h" * 32,
        created_at=at, expires_at=at + timedelta(minutes=1), completed_at=None, failed_at=None, failure_code=None,
    )  # fmt: skip


_AUDIT_ROWS = {
    "auth": "INSERT INTO audit_log (id, at, action, actor_id, user_id, request_id) "
    "SELECT $1::uuid, $2::timestamptz, 'action', $1, $1, 'request'",
    "wallet": "INSERT INTO audit_log (at, action, actor_id, account_id, request_id) "
    "SELECT $2::timestamptz, 'action', $1::uuid, (SELECT id FROM accounts LIMIT 1), 'request'",
}
_AUDIT_ROW = (
    "INSERT INTO audit_log (id, at, action, actor_id, subject_kind, subject_id, request_id) "
    "SELECT $1::uuid, $2::timestamptz, 'action', $1, 'transfer', $1, 'request'"
)
_AUDIT_READERS: dict[str, tuple[Handler, Any]] = {
    "auth": (audit.reader(auth_api.READ_POOL, audit.statements.list_audit), auth_api.READ_POOL),
    "wallet": (wallet_api.list_entries, wallet_api.READ_POOL),
    "transaction": (audit.reader(transaction_api.READ_POOL, audit.statements.list_audit), transaction_api.READ_POOL),
    "notification": (audit.reader(notification_api.READ_POOL, audit.statements.list_audit), notification_api.READ_POOL),
}


async def _fill_audit(database: TestDatabase, service: str, _: str) -> Filled:
    pool = await database.pool()
    if service == "wallet":
        await fund(pool, [0])
    moment = (await pool.fetchval("SELECT clock_timestamp()")) - timedelta(minutes=1)
    owner = await asyncpg.connect(database.owner_url)
    await owner.executemany(_AUDIT_ROWS.get(service, _AUDIT_ROW), [(new_id(), at) for at in _times(moment)])
    await owner.close()
    handler, pool_key = _AUDIT_READERS[service]
    return _app(service, "/audit", handler, pool_key, pool), "/audit", {}, moment


def _times(moment: datetime) -> list[datetime]:
    return [moment - TICK] * BEFORE + [moment] * TOGETHER + [moment + TICK] * AFTER


_FILL: dict[str, Callable[..., Awaitable[Filled]]] = {
    "statement": _fill_statement,
    "transfers": _fill_transfers,
    "audit": _fill_audit,
}
