"""The audit lists against a naive model, with the real handlers and databases: every filter, alone and combined, page by page."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from services.auth import api as auth_api
from services.auth.app import READ_SETTINGS as AUTH_SETTINGS
from services.chassis import audit, database, server
from services.chassis.database import close_pool
from services.contracts.messages import format_time
from services.notification import api as notification_api
from services.notification.store import PLANNER as NOTIFICATION_PLANNER
from services.transaction import api as transaction_api
from services.transaction.app import READ_SETTINGS as TRANSACTION_SETTINGS
from services.wallet import api as wallet_api
from services.wallet.app import PLANNER as WALLET_PLANNER
from tests.harness import plans
from tests.harness.databases import Templates, TestDatabase

SERVICES = ("auth", "notification", "transaction", "wallet")
KEYS: dict[str, Any] = {
    "auth": auth_api.READ_POOL,
    "notification": notification_api.READ_POOL,
    "transaction": transaction_api.READ_POOL,
    "wallet": wallet_api.READ_POOL,
}
SETTINGS = {
    "auth": AUTH_SETTINGS,
    "notification": NOTIFICATION_PLANNER | database.READ_LIMITS,
    "transaction": TRANSACTION_SETTINGS,
    "wallet": WALLET_PLANNER | database.READ_LIMITS,
}
SEED = 3
ROWS = 120
PAGE = 7
START = datetime(2026, 1, 1, tzinfo=UTC)
PEOPLE = [UUID(int=n + 1) for n in range(3)]
ACTS = ("one", "other", "third")

Client = TestClient[web.Request, web.Application]


class Row(NamedTuple):
    """An entry as the list sees it. `number` orders entries of the same time: their ids are in that order."""

    at: datetime
    number: int
    action: str
    actor_id: UUID
    user_id: UUID


def make_rows() -> list[Row]:
    """Entries of few users at few times."""
    rng = random.Random(SEED)
    return [
        Row(START + timedelta(microseconds=rng.randrange(20)), number, rng.choice(ACTS), *rng.choices(PEOPLE, k=2))
        for number in range(1, ROWS + 1)
    ]


INSERTS = {
    "auth": "INSERT INTO audit_log (at, id, action, actor_id, user_id, request_id) VALUES ($1, $2, $3, $4, $5, 'r')",
    "wallet": "INSERT INTO audit_log (at, id, action, actor_id, account_id, request_id) OVERRIDING SYSTEM VALUE "
    "VALUES ($1, $2, $3, $4, $5, 'r')",
}
INSERT = (
    "INSERT INTO audit_log (at, id, action, actor_id, user_id, subject_kind, subject_id, request_id) "
    "VALUES ($1, $2, $3, $4, $5, 'x', $5, 'r')"
)


async def fill(made: TestDatabase, service: str, rows: list[Row]) -> None:
    """Insert the entries; where the log names wallets, a wallet of the same id stands for each user."""
    connection = await plans.superuser(made.superuser_url)
    if service == "wallet":
        for user in PEOPLE:
            await connection.execute(
                "INSERT INTO accounts (id, owner_id, currency) VALUES ($1, $2, 'USD')", _wallet(user), user
            )
    for row in rows:
        subject = _wallet(row.user_id) if service == "wallet" else row.user_id
        identifier = row.number if service == "wallet" else UUID(int=row.number)
        await connection.execute(INSERTS.get(service, INSERT), row.at, identifier, row.action, row.actor_id, subject)
    await connection.close()


def _wallet(user: UUID) -> UUID:
    return UUID(int=user.int + 1000)


def model(rows: list[Row], params: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """The expected list, in order."""
    held = [
        row
        for row in rows
        if params.get("actor_id") in (None, row.actor_id)
        and params.get("user_id") in (None, row.user_id)
        and params.get("action") in (None, row.action)
        and (params.get("from") is None or row.at >= params["from"])
        and (params.get("to") is None or row.at < params["to"])
    ]
    newest_first = sorted(held, key=lambda row: (row.at, row.number), reverse=True)
    return [(format_time(row.at), row.action, str(row.actor_id), str(row.user_id)) for row in newest_first]


@pytest.fixture(params=SERVICES)
async def listed(request: pytest.FixtureRequest, templates: Templates) -> AsyncIterator[tuple[Client, list[Row]]]:
    """The handler of one service, and the content of its log."""
    made, rows = await templates.fresh(request.param), make_rows()
    await fill(made, request.param, rows)
    pool = await made.pool(**SETTINGS[request.param])
    app = server.application(request.param)
    app[KEYS[request.param]] = pool
    handler = audit.reader(KEYS[request.param], audit.statements.list_audit)
    app.router.add_get("/audit", wallet_api.list_entries if request.param == "wallet" else handler)
    async with TestClient(TestServer(app)) as client:
        yield client, rows
    await close_pool(pool)
    await templates.drop(made)


async def read(client: Client, params: dict[str, Any]) -> list[dict[str, Any]]:
    """Request one page, as the gateway does."""
    query = {name: format_time(value) if isinstance(value, datetime) else str(value) for name, value in params.items()}
    response = await client.get("/audit", params=query)
    assert response.status == 200, await response.text()
    items: list[dict[str, Any]] = (await response.json())["items"]
    return items


def seen(items: list[dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    return [(item["at"], item["action"], item["actor_id"], item["user_id"]) for item in items]


async def test_every_combination_of_filters(listed: tuple[Client, list[Row]]) -> None:
    """Actor, user, action and period, alone and combined: exactly the matching entries, newest first."""
    client, rows = listed
    early, late = START + timedelta(microseconds=5), START + timedelta(microseconds=14)
    sizes = set()
    for actor, user, action, since, until in product(
        (None, *PEOPLE[:2]), (None, *PEOPLE[:2]), (None, "one", "unknown"), (None, early), (None, late)
    ):
        params = {"actor_id": actor, "user_id": user, "action": action, "from": since, "to": until}
        params = {name: value for name, value in params.items() if value is not None}
        expected = model(rows, params)
        assert expected == seen(await read(client, params)), params
        sizes.add(len(expected))
    assert {0, 1} < sizes


async def test_pages_are_the_list_in_parts(listed: tuple[Client, list[Row]]) -> None:
    """Pages of seven follow each other without a gap or a repeat, also between entries of one microsecond."""
    client, rows = listed
    early, late = START + timedelta(microseconds=3), START + timedelta(microseconds=17)
    for params in ({}, {"actor_id": PEOPLE[0]}, {"user_id": PEOPLE[1], "from": early}, {"action": "one", "to": late}):
        found: list[dict[str, Any]] = []
        while True:
            cursor = {"before": f"{found[-1]['at']}/{found[-1]['id']}"} if found else {}
            part = await read(client, {**params, **cursor, "limit": PAGE})
            found += part
            if len(part) < PAGE:
                break
        assert model(rows, dict(params)) == seen(found), params
        assert len(found) > PAGE
