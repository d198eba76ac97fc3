"""The internal routes, over HTTP, on the real database."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web

from deploy.local.ports import find_free
from services.chassis import server
from services.chassis.client import Upstream
from services.chassis.database import Pool
from services.chassis.roles import Runtime
from services.chassis.service_tokens import Identity, TokenSigner, TokenVerifier
from services.contracts.identifiers import new_id
from services.contracts.refusal import Refusal
from services.notification import api, commands
from services.notification.app import serve_api
from services.notification.settings import ApiSettings
from tests.harness.databases import TestDatabase
from tests.unit.notification.events import completed, failed

ALICE, BOB = new_id(), new_id()
SOME_ID = "0196f0c0-0000-7000-8000-000000000001"
"""For names of tests, which every process of a run has to know alike."""
SECONDS = 5.0

UNNUMBERED = """
INSERT INTO notifications (id, user_id, transfer_id, kind, title, body, created_at)
VALUES ($1, $2, $3, 'transfer_completed', 'Title', 'Body', now() - make_interval(mins => $4))
"""


@dataclass(slots=True)
class Api:
    """The api role, called by the gateway."""

    url: str
    gateway: Upstream

    async def page(self, user_id: UUID, **params: str) -> Any:
        params = {"user_id": str(user_id), **params}
        return await self.gateway.call("GET", "/internal/notifications", params=params, seconds=SECONDS)

    async def pages(self, user_id: UUID, limit: int) -> AsyncIterator[list[dict[str, Any]]]:
        cursor: dict[str, str] = {}
        while True:
            page = await self.page(user_id, limit=str(limit), **cursor)
            yield page["items"]
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}

    async def updates(self, *positions: tuple[UUID, int | None], limit: int = 32) -> dict[tuple[str, int | None], Any]:
        """The updates of feeds, by position: the last number of the feed, and its new lines."""
        body = {"items": [{"user_id": str(user_id), "after": after} for user_id, after in positions], "limit": limit}
        response = await self.gateway.call("POST", "/internal/events", body=body, seconds=SECONDS)
        return {(item["user_id"], item["after"]): (item["last_seq"], item["events"]) for item in response["items"]}

    async def read(self, notification_id: object, user_id: UUID) -> Any:
        path = f"/internal/notifications/{notification_id}/read"
        return await self.gateway.call("POST", path, body={"user_id": str(user_id)}, seconds=SECONDS)


@pytest.fixture
async def served(
    pool: Pool,
    notification_database: TestDatabase,
    runtime: Runtime,
    seeds: dict[str, str],
    public_keys: dict[str, str],
) -> AsyncIterator[Api]:
    del pool  # only so that its check of the feeds runs after the role has ended
    settings = ApiSettings(
        host="127.0.0.1",
        notification_port=find_free(),
        notification_database_url=notification_database.service_url,
        rabbitmq_url="amqp://user:not-a-real-password@127.0.0.1:9",
        service_key=seeds["notification"],
        service_public_keys=public_keys,
    )
    url = f"http://127.0.0.1:{settings.notification_port}"
    gateway = Upstream("gateway", "notification", url, Identity.from_base64(seeds["gateway"], public_keys))
    role = asyncio.create_task(serve_api(settings, runtime))
    await _answers(url)
    yield Api(url, gateway)
    runtime.stopping.set()
    await gateway.close()
    await role


async def _answers(url: str) -> None:
    async with asyncio.timeout(SECONDS), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.01)


async def record(pool: Pool, *events: Any) -> None:
    await commands.record_events(pool, events, with_deliveries=False)


async def test_list(served: Api, pool: Pool) -> None:
    """A user's notifications are listed newest first, with the fields of the contract, without those of other users."""
    first, second = completed(sender_id=ALICE, recipient_id=BOB), failed(sender_id=ALICE)
    await record(pool, first)
    await record(pool, second)
    page = await served.page(ALICE)
    assert page["next_cursor"] is None
    assert [item["transfer_id"] for item in page["items"]] == [str(second.transfer_id), str(first.transfer_id)]
    assert set(page["items"][0]) == {"id", "kind", "transfer_id", "title", "body", "created_at", "read_at"}
    assert page["items"][0]["kind"] == "transfer_failed"
    assert page["items"][0]["read_at"] is None


async def test_empty_list(served: Api) -> None:
    """A user without notifications has an empty list."""
    assert await served.page(new_id()) == {"items": [], "next_cursor": None}


async def test_one_window_is_listed_in_its_order(served: Api, pool: Pool) -> None:
    """Notifications of one window share a time; they are still listed in order."""
    events = [completed(sender_id=ALICE) for _ in range(9)]
    await record(pool, *events)
    listed = [item["transfer_id"] async for page in served.pages(ALICE, 2) for item in page]
    assert listed == [str(event.transfer_id) for event in reversed(events)]


async def test_unnumbered_notifications_follow_the_numbered(served: Api, pool: Pool) -> None:
    """Pages continue with notifications without a number, which releases before revision 0010 recorded, newest first."""
    earlier = [new_id() for _ in range(5)]
    for minutes, transfer_id in enumerate(earlier):
        await pool.execute(UNNUMBERED, new_id(), ALICE, transfer_id, minutes)
    events = [completed(sender_id=ALICE) for _ in range(4)]
    await record(pool, *events)
    expected = [str(event.transfer_id) for event in reversed(events)] + [str(transfer_id) for transfer_id in earlier]
    for limit in (1, 3, 4, 100):
        assert expected == [item["transfer_id"] async for page in served.pages(ALICE, limit) for item in page]


async def test_cursor_of_another_user(served: Api, pool: Pool) -> None:
    """A cursor of another user's list continues nothing and shows nothing of theirs."""
    await record(pool, *[completed(sender_id=ALICE) for _ in range(3)])
    await record(pool, completed(sender_id=BOB))
    cursor = (await served.page(ALICE, limit="1"))["next_cursor"]
    assert await served.page(BOB, cursor=cursor) == {"items": [], "next_cursor": None}


async def test_pages_while_rows_are_inserted(served: Api, pool: Pool) -> None:
    """While notifications arrive, pages contain every older one once, and no newer one on a later page."""
    old = [completed(sender_id=ALICE) for _ in range(25)]
    for start in range(0, 25, 5):
        await record(pool, *old[start : start + 5])
    seen: list[str] = []
    async for page in served.pages(ALICE, 4):
        seen += [item["transfer_id"] for item in page]
        await record(pool, *(completed(sender_id=ALICE) for _ in range(random.randint(1, 3))))
    assert seen == [str(event.transfer_id) for event in reversed(old)]


async def test_mark_read(served: Api, pool: Pool) -> None:
    """A notification is marked once: the second request gives the same response."""
    await record(pool, completed(sender_id=ALICE))
    [unread] = (await served.page(ALICE))["items"]
    read = await served.read(unread["id"], ALICE)
    assert read["read_at"] is not None
    assert read | {"read_at": None} == unread
    assert await served.read(unread["id"], ALICE) == read
    assert (await served.page(ALICE))["items"] == [read]


async def test_notification_of_another_user(served: Api, pool: Pool) -> None:
    """Another user's notification is as unknown as one that does not exist or a malformed id, and stays unread."""
    await record(pool, completed(sender_id=ALICE))
    [unread] = (await served.page(ALICE))["items"]
    problems = []
    for notification_id in (unread["id"], new_id(), "nonsense", "%00"):
        with pytest.raises(Refusal) as refused:
            await served.read(notification_id, BOB)
        problems.append(refused.value.problem())
    assert problems[0]["status"] == 404
    assert problems[0]["code"] == "notification_not_found"
    assert all(problem == problems[0] for problem in problems)
    assert (await served.page(ALICE))["items"] == [unread]


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        ({}, ["user_id"]),
        ({"user_id": "x"}, ["user_id"]),
        ({"user_id": str(ALICE), "limit": "0"}, ["limit"]),
        ({"user_id": str(ALICE), "limit": "201"}, ["limit"]),
        ({"user_id": str(ALICE), "limit": "ten"}, ["limit"]),
        ({"user_id": str(ALICE), "cursor": "x"}, ["cursor"]),
        ({"user_id": str(ALICE), "cursor": "\x00"}, ["cursor"]),
        ({"limit": "0", "cursor": "x", "page": "1"}, ["user_id", "limit", "page"]),
    ],
)
async def test_malformed_parameters(served: Api, params: dict[str, str], fields: list[str]) -> None:
    """Malformed parameters are refused with every faulty field."""
    with pytest.raises(Refusal) as refused:
        await served.gateway.call("GET", "/internal/notifications", params=params, seconds=SECONDS)
    assert (refused.value.status, refused.value.code) == (422, "invalid_request")
    assert [error.field for error in refused.value.errors] == fields


@pytest.mark.parametrize("body", [None, {}, {"user_id": 1}, {"user_id": str(ALICE), "read": True}, []])
async def test_malformed_body(served: Api, body: Any) -> None:
    """A body without the user is refused."""
    with pytest.raises(Refusal) as refused:
        await served.gateway.call("POST", f"/internal/notifications/{new_id()}/read", body=body, seconds=SECONDS)
    assert (refused.value.status, refused.value.code) == (422, "invalid_request")


async def test_notifications_of_a_transfer(served: Api, pool: Pool) -> None:
    """The notifications of a transfer have user, kind and time, for the timeline."""
    event = completed(sender_id=ALICE, recipient_id=BOB)
    await record(pool, event, completed(sender_id=ALICE))
    path = f"/internal/transfers/{event.transfer_id}/notifications"
    response = await served.gateway.call("GET", path, seconds=SECONDS)
    assert [(item["user_id"], item["kind"]) for item in response["items"]] == [
        (str(ALICE), "transfer_completed"),
        (str(BOB), "transfer_received"),
    ]
    notification = next(
        item for item in (await served.page(BOB))["items"] if item["transfer_id"] == str(event.transfer_id)
    )
    assert {item["at"] for item in response["items"]} == {notification["created_at"]}


async def test_notifications_of_an_unknown_transfer(served: Api) -> None:
    """An unknown transfer has none; a malformed id is refused."""
    assert await served.gateway.call("GET", f"/internal/transfers/{new_id()}/notifications", seconds=SECONDS) == {
        "items": []
    }
    with pytest.raises(Refusal) as refused:
        await served.gateway.call("GET", "/internal/transfers/nonsense/notifications", seconds=SECONDS)
    assert refused.value.status == 422


async def test_feeds(served: Api, pool: Pool) -> None:
    """Many feeds are read at once, each from its position; feeds without new lines are omitted, unknown users have none."""
    unknown = new_id()
    await record(pool, completed(sender_id=ALICE, recipient_id=BOB))
    await record(pool, failed(sender_id=ALICE))

    updates = await served.updates(
        (ALICE, 0), (ALICE, 1), (ALICE, 4), (ALICE, None), (BOB, 9), (unknown, 0), (unknown, None)
    )

    lines = {place: [(line["seq"], line["type"]) for line in events] for place, (_, events) in updates.items()}
    alices = [(1, "transfer.completed"), (2, "notification"), (3, "transfer.failed"), (4, "notification")]
    assert lines == {
        (str(ALICE), 0): alices,
        (str(ALICE), 1): alices[1:],
        (str(ALICE), None): [],
        (str(BOB), 9): [],
        (str(unknown), None): [],
    }
    assert {place: last_seq for place, (last_seq, _) in updates.items()} == {
        (str(ALICE), 0): 4, (str(ALICE), 1): 4, (str(ALICE), None): 4, (str(BOB), 9): 2, (str(unknown), None): 0,
    }  # fmt: skip


async def test_feeds_in_parts(served: Api, pool: Pool) -> None:
    """At most so many lines of each feed at once, the next ones first; their text is one line."""
    events = [completed(sender_id=ALICE, recipient_id=BOB, description='a\r\nb\u2028c"') for _ in range(3)]
    await record(pool, *events)

    first = (await served.updates((ALICE, 0), (BOB, 3), limit=3))[str(ALICE), 0]
    second = (await served.updates((ALICE, 3), limit=200))[str(ALICE), 3]

    assert (6, [1, 2, 3]) == (first[0], [line["seq"] for line in first[1]])
    assert (6, [4, 5, 6]) == (second[0], [line["seq"] for line in second[1]])
    assert not any("\n" in line["payload"] or "\r" in line["payload"] for line in first[1] + second[1])
    assert 'a\r\nb\u2028c"' == json.loads(first[1][0]["payload"])["description"]


@pytest.mark.parametrize(
    "body",
    [{}, {"items": [], "limit": 0}, {"items": [{"user_id": "x", "after": 0}], "limit": 1},
     {"items": [{"user_id": str(ALICE), "after": -1}], "limit": 1},
     {"items": [{"user_id": str(ALICE), "after": 2**63}], "limit": 1}],
)  # fmt: skip
async def test_feeds_malformed(served: Api, body: Any) -> None:
    """A malformed list of positions is refused."""
    with pytest.raises(Refusal) as refused:
        await served.gateway.call("POST", "/internal/events", body=body, seconds=SECONDS)
    assert (422, "invalid_request") == (refused.value.status, refused.value.code)


def _routes() -> list[tuple[str, str]]:
    app = server.application("notification")
    api.add_routes(app, TokenVerifier({}, audience="notification"))
    return [
        (route.method, route.resource.canonical.replace("{id}", SOME_ID).replace("{transfer_id}", SOME_ID))
        for route in app.router.routes()
        if route.method != "HEAD" and isinstance(route.resource, web.Resource)
    ]


@pytest.mark.parametrize(("method", "path"), _routes())
async def test_guard(served: Api, seeds: dict[str, str], public_keys: dict[str, str], method: str, path: str) -> None:
    """No route responds without a service token, to that of another service, or to the gateway's for another audience."""
    gateway = Identity.from_base64(seeds["gateway"], public_keys)
    worker = Identity.from_base64(seeds["transaction-worker"], public_keys)
    tokens = {
        "": (401, "service_token_required"),
        "Basic YTpi": (401, "service_token_required"),
        "Bearer nonsense": (401, "service_token_required"),
        f"Bearer {TokenSigner(worker, audience='notification').token()}": (403, "service_not_allowed"),
        f"Bearer {TokenSigner(gateway, audience='wallet').token()}": (403, "service_not_allowed"),
    }
    async with aiohttp.ClientSession() as session:
        for token, expected in tokens.items():
            headers = {"Authorization": token} if token else {}
            async with session.request(method, served.url + path, headers=headers) as response:
                assert (response.status, json.loads(await response.read())["code"]) == expected


def test_guard_covers_all_routes() -> None:
    """The test above covers every route."""
    assert len(_routes()) == 5
