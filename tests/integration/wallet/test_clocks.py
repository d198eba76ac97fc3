"""The api of the wallet service and its callers with different clocks."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web

from services.chassis import server
from services.chassis.client import Upstream, UpstreamUnavailable
from services.chassis.database import Pool
from services.chassis.replica import Reader
from services.chassis.service_tokens import Identity, TokenClockSkew, TokenVerifier
from services.contracts.identifiers import new_id
from services.contracts.refusal import Refusal
from services.wallet import api
from tests.harness.services import identities

VOID = "/internal/void"
HOUR = 3600.0


class Skewed:
    """A clock with an offset from the true time."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return time.time() + self.seconds


class Wallet:
    """The api of the wallet service on a free port, with its own clock and a count of the requests that passed the guard."""

    def __init__(self, pool: Pool, stack: AsyncExitStack) -> None:
        self.clock = Skewed()
        self.keys = identities()
        self.handled = 0
        self.url = ""
        self._pool = pool
        self._stack = stack

    async def start(self) -> None:
        app = server.application("wallet")
        app[api.POOL] = self._pool
        app[api.READ_POOL] = self._pool
        app[api.READER] = Reader(self._pool)
        app[api.PROOF_POOL] = self._pool
        verifier = TokenVerifier(self.keys["wallet"].public_keys, audience="wallet", clock=self.clock)
        api.add_routes(app, verifier)
        guard = server.callers(verifier, ["transaction"])
        app.add_routes([web.post("/count", guard(self._count)), web.post("/relay", guard(_relay))])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    def caller(
        self, name: str = "transaction", *, clock: Callable[[], float] = time.time, identity: Identity | None = None
    ) -> Upstream:
        upstream = Upstream("transaction", "wallet", self.url, identity or self.keys[name], clock=clock)
        self._stack.push_async_callback(upstream.close)
        return upstream

    async def _count(self, _request: web.Request) -> web.Response:
        self.handled += 1
        return web.json_response({})


async def _relay(_request: web.Request) -> web.Response:
    """The refusal of an upstream service, passed on."""
    raise TokenClockSkew(extra={"now": 1.0})


@pytest.fixture
async def wallet(pool: Pool) -> AsyncIterator[Wallet]:
    async with AsyncExitStack() as stack:
        made = Wallet(pool, stack)
        await made.start()
        yield made


async def void(upstream: Upstream, transfer_id: UUID) -> Any:
    item = {"transfer_id": str(transfer_id), "reason": "cancelled", "request_hash": "ab" * 32}
    result = await upstream.call("POST", VOID, body={"items": [item]}, seconds=5)
    return result["items"][0]["outcome"]


@pytest.mark.parametrize("seconds", [-HOUR, HOUR])
async def test_a_caller_an_hour_off_is_served(wallet: Wallet, seconds: float) -> None:
    """Guarantee 39: the clock of a caller jumps by an hour and comes back, and every one of its calls succeeds."""
    clock = Skewed()
    upstream = wallet.caller(clock=clock)
    for difference in (0.0, seconds, 0.0, -seconds):
        clock.seconds = difference
        # A new caller signs at once; this one when its token is half a minute old.
        assert "voided" == await void(upstream, new_id())
        assert "voided" == await void(wallet.caller(clock=clock), new_id())


@pytest.mark.parametrize("seconds", [-HOUR, HOUR])
async def test_a_wallet_an_hour_off_serves(wallet: Wallet, seconds: float) -> None:
    """Guarantee 39: the clock of the wallet jumps by an hour and comes back under a caller that keeps its token."""
    upstream = wallet.caller()
    for difference in (0.0, seconds, 0.0):
        wallet.clock.seconds = difference

        assert "voided" == await void(upstream, new_id())


async def test_what_must_not_be_sent_twice_is_carried_out_once(wallet: Wallet) -> None:
    """A refusal for the time comes before anything is done: a call with a single attempt is carried out, once."""
    upstream = wallet.caller(clock=Skewed(HOUR))

    assert {} == await upstream.call("POST", "/count", seconds=5, attempts=1)
    assert 1 == wallet.handled


async def test_repeated_refusals_for_the_time_mean_unavailable(wallet: Wallet) -> None:
    """A callee that keeps refusing for the time is reported as unavailable; its refusal is not passed on."""
    upstream = wallet.caller()

    with pytest.raises(UpstreamUnavailable):
        await upstream.call("POST", "/relay", seconds=5)

    assert "voided" == await void(upstream, new_id())


@pytest.mark.parametrize("seconds", [0.0, HOUR])
async def test_unknown_callers_do_not_get_the_time(wallet: Wallet, seconds: float) -> None:
    """Guarantee 48: a caller with an unknown key is refused, whatever the time, without the time of the callee."""
    unknown = identities(["transaction"])["transaction"]
    for upstream in (
        wallet.caller(identity=unknown, clock=Skewed(seconds)),
        wallet.caller("gateway", clock=Skewed(seconds)),
    ):
        with pytest.raises(Refusal) as refusal:
            await void(upstream, new_id())
        assert (403, "service_not_allowed") == (refusal.value.status, refusal.value.code)
