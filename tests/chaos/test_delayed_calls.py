"""A call of the worker reaches the wallet long after the worker and the reversal have given it up."""

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

DELAY_SECONDS = bound(6.0, 120.0)
"""Longer than the worker waits for a response (5 s): it times out and retries, and the retry is delayed too."""

TRANSFERS = 20


@dataclass(slots=True)
class DelayedCall:
    """A delayed call and the wallet's eventual response."""

    body: bytes
    arrived_at: float
    token: str
    seconds: float = 0.0
    status: int = 0
    response: Any = None


@dataclass(slots=True)
class DelayingProxy:
    """A proxy in front of the wallet that delays every call until released. A caller that times out does not cancel its call."""

    wallet_url: str
    session: aiohttp.ClientSession
    released: asyncio.Event = field(default_factory=asyncio.Event)
    delayed_calls: list[DelayedCall] = field(default_factory=list)

    async def forward(self, call: web.Request) -> web.Response:
        """Forward the call to the wallet, once released."""
        token = call.headers["Authorization"].removeprefix("Bearer ")
        delayed = DelayedCall(await call.read(), time.monotonic(), token)
        if not self.released.is_set():
            self.delayed_calls.append(delayed)
            await self.released.wait()
        delayed.seconds = time.monotonic() - delayed.arrived_at
        delayed.status, delayed.response = await self.send(call.path, delayed.body, token)
        return web.json_response(delayed.response, status=delayed.status)

    async def send(self, path: str, body: bytes, token: str) -> tuple[int, Any]:
        """Send a call to the wallet now and return its response."""
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


async def delaying_proxy(path: MoneyPath) -> tuple[DelayingProxy, str]:
    """A delaying proxy for the path's wallet, and its URL."""
    session = await path.stack.enter_async_context(aiohttp.ClientSession())
    proxy = DelayingProxy(path.wallet_url, session)
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/{path:.*}", proxy.forward)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    path.stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return proxy, f"http://127.0.0.1:{runner.addresses[0][1]}"


def with_later_expiry(body: bytes) -> bytes:
    """The same call with an expiry one hour later."""
    items = json.loads(body)["items"]
    for item in items:
        item["expires_at"] = format_time(datetime.fromisoformat(item["expires_at"]) + timedelta(hours=1))
    return json.dumps({"items": items}).encode()


@pytest.mark.timeout(bound(300, 400))
async def test_a_delayed_call_moves_no_money(path: MoneyPath) -> None:
    """Guarantee 3: a worker's calls are delayed while the reversal acts: FAILED; the late calls get `voided`; no money moves.

    A call that arrives after its service token has expired is refused. With a fresh token it gets `voided` too.
    """
    [(alice, alice_wallet), (_, bob_wallet)] = await path.users([1000, 0])
    path.reversal_after = bound(path.reversal_after / 60, path.reversal_after)
    wallet_url = path.wallet_url
    proxy, path.wallet_url = await delaying_proxy(path)
    path.start_worker()
    path.wallet_url = wallet_url
    path.start_relay()
    accepted = await accept(path.intake(), *(request(alice, bob_wallet, 10 + n) for n in range(TRANSFERS)))
    ids = [response.transfer.id for response in accepted if isinstance(response, Accepted)]

    async with asyncio.timeout(60):
        while not proxy.delayed_calls:
            await asyncio.sleep(0.02)
    began = time.monotonic()
    async with asyncio.timeout(DELAY_SECONDS + 60):
        while len(proxy.delayed_calls) < 2 or time.monotonic() - began < DELAY_SECONDS:
            await path.sweep()
            await asyncio.sleep(0.2)
    done = await path.finalized(ids)
    # For a wallet whose clock is an hour behind, nothing has expired: the reversal decides because it was first.
    worker = TokenSigner(path.keys["transaction-worker"], "wallet")
    status, early = await proxy.send("/internal/post", with_later_expiry(proxy.delayed_calls[0].body), worker.token())
    proxy.released.set()
    async with asyncio.timeout(30):
        while not all(delayed.status for delayed in proxy.delayed_calls):
            await asyncio.sleep(0.02)

    assert TRANSFERS == len(ids)
    assert {("FAILED", "timed_out")} == {(transfer.status, transfer.failure_code) for transfer in done.values()}
    assert (200, {"voided"}) == (status, {item["outcome"] for item in early["items"]})
    for delayed in proxy.delayed_calls:
        if delayed.status in (401, 403):
            # A token is valid for 30 to 60 s: only after that may it be refused.
            assert delayed.seconds > LIFETIME_SECONDS / 2
            delayed.status, delayed.response = await proxy.send("/internal/post", delayed.body, worker.token())
        assert 200 == delayed.status
        assert {"voided"} == {item["outcome"] for item in delayed.response["items"]}
    # The worker finally receives the same outcome, and it changes nothing.
    await path.stop_all()
    assert done == await path.finalized(ids)
    assert (1000, 0) == (
        await ledgers.balance(path.wallet_pool, alice_wallet),
        await ledgers.balance(path.wallet_pool, bob_wallet),
    )
    proof = await prove(path.wallet_pool)
    assert proof.ok, proof
    report("3", delayed=[round(delayed.seconds, 1) for delayed in proxy.delayed_calls], transfers=len(ids))
