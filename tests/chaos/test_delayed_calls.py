"""A call of the worker reaches the wallet long after everybody has given it up."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from deploy.local.engines import RabbitMQ
from services.chassis.service_tokens import LIFETIME_SECONDS, TokenSigner
from services.contracts.messages import format_time
from services.transaction.commands import Accepted
from services.wallet.proof import prove
from tests.chaos.timing import report
from tests.harness import ledgers
from tests.harness.databases import TestDatabase
from tests.harness.drills import bound
from tests.harness.services import MoneyPath, accept, open_money_path, request

HELD_SECONDS = bound(6.0, 120.0)
"""Longer than the worker waits for an answer (5 s): it gives up and asks again, and that call is held back too."""

TRANSFERS = 20


@dataclass(slots=True)
class Late:
    """A call that was held back, and what the wallet answered in the end."""

    body: bytes
    arrived_at: float
    token: str
    seconds: float = 0.0
    status: int = 0
    answer: Any = None


@dataclass(slots=True)
class SlowRoad:
    """Stands before the wallet and holds every call until it is opened. Who gives up waiting does not take his call back."""

    wallet_url: str
    session: aiohttp.ClientSession
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    late: list[Late] = field(default_factory=list)

    async def pass_on(self, call: web.Request) -> web.Response:
        """Hand the call to the wallet, once the road is open."""
        token = call.headers["Authorization"].removeprefix("Bearer ")
        held = Late(await call.read(), time.monotonic(), token)
        if not self.opened.is_set():
            self.late.append(held)
            await self.opened.wait()
        held.seconds = time.monotonic() - held.arrived_at
        held.status, held.answer = await self.send(call.path, held.body, token)
        return web.json_response(held.answer, status=held.status)

    async def send(self, path: str, body: bytes, token: str) -> tuple[int, Any]:
        """What the wallet answers to this, now."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        async with self.session.post(self.wallet_url + path, data=body, headers=headers) as response:
            return response.status, await response.json(content_type=None)


@pytest.fixture
async def path(
    wallet_database: TestDatabase, transaction_database: TestDatabase, rabbitmq: RabbitMQ
) -> AsyncIterator[MoneyPath]:
    async with AsyncExitStack() as stack:
        opened = await open_money_path(stack, wallet_database, transaction_database, rabbitmq)
        yield opened
        await opened.stop_all()


async def slow_road(path: MoneyPath) -> tuple[SlowRoad, str]:
    """A road to the path's wallet, and its address."""
    session = await path.stack.enter_async_context(aiohttp.ClientSession())
    road = SlowRoad(path.wallet_url, session)
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/{path:.*}", road.pass_on)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    path.stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return road, f"http://127.0.0.1:{runner.addresses[0][1]}"


def an_hour_younger(body: bytes) -> bytes:
    """The same call, whose transfers expire an hour later."""
    items = json.loads(body)["items"]
    for item in items:
        item["expires_at"] = format_time(datetime.fromisoformat(item["expires_at"]) + timedelta(hours=1))
    return json.dumps({"items": items}).encode()


@pytest.mark.timeout(bound(120, 400))
async def test_a_call_held_back_moves_nothing_any_more(path: MoneyPath) -> None:
    """Guarantee 3: a worker's calls are held back while the reversal acts: FAILED; the late calls get `voided`; no money.

    A call that comes later than its service token lives is refused for that. With a fresh token it gets `voided`, too.
    """
    [(alice, alice_wallet), (_, bob_wallet)] = await path.users([1000, 0])
    path.reversal_after = bound(path.reversal_after / 60, path.reversal_after)
    wallet_url = path.wallet_url
    road, path.wallet_url = await slow_road(path)
    path.start_worker()
    path.wallet_url = wallet_url
    path.start_relay()
    accepted = await accept(path.intake(), *(request(alice, bob_wallet, 10 + n) for n in range(TRANSFERS)))
    ids = [answer.transfer.id for answer in accepted if isinstance(answer, Accepted)]

    async with asyncio.timeout(60):
        while not road.late:
            await asyncio.sleep(0.02)
    began = time.monotonic()
    async with asyncio.timeout(HELD_SECONDS + 60):
        while len(road.late) < 2 or time.monotonic() - began < HELD_SECONDS:
            await path.sweep()
            await asyncio.sleep(0.2)
    done = await path.finalized(ids)
    # By the clock of a wallet that is an hour behind, nothing has expired: what decides is that the reversal was first.
    worker = TokenSigner(path.keys["transaction-worker"], "wallet")
    status, early = await road.send("/internal/post", an_hour_younger(road.late[0].body), worker.token())
    road.opened.set()
    async with asyncio.timeout(30):
        while not all(held.status for held in road.late):
            await asyncio.sleep(0.02)

    assert TRANSFERS == len(ids)
    assert {("FAILED", "timed_out")} == {(transfer.status, transfer.failure_code) for transfer in done.values()}
    assert (200, {"voided"}) == (status, {item["outcome"] for item in early["items"]})
    for held in road.late:
        if held.status in (401, 403):
            # Its token lives for a minute at most and half a minute at least: only then may it be out of date.
            assert held.seconds > LIFETIME_SECONDS / 2
            held.status, held.answer = await road.send("/internal/post", held.body, worker.token())
        assert 200 == held.status
        assert {"voided"} == {item["outcome"] for item in held.answer["items"]}
    # The worker is told the same in the end, and changes nothing by it.
    await path.stop_all()
    assert done == await path.finalized(ids)
    assert (1000, 0) == (
        await ledgers.balance(path.wallet_pool, alice_wallet),
        await ledgers.balance(path.wallet_pool, bob_wallet),
    )
    proof = await prove(path.wallet_pool)
    assert proof.ok, proof
    report("3", held=[round(held.seconds, 1) for held in road.late], transfers=len(ids))
