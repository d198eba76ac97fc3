"""Admission control of transfers: above the limit they are refused unread, and all other requests are served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import REGISTRY
from redis.asyncio import Redis as Client

from services.contracts.identifiers import new_id
from services.gateway.responses import HEADERS
from tests.integration.gateway.conftest import ApiClient, Open, Response, eventually

INTAKE = "/internal/transfers"
TO = {"wallet_id": str(new_id())}


@asynccontextmanager
async def _under_way(api: ApiClient, token: str, count: int) -> AsyncIterator[list[asyncio.Task[Response]]]:
    """So many transfers under way, to an upstream service that responds when the block ends."""
    api.fakes.transaction.silent_at = INTAKE
    admitted = []
    try:
        for number in range(count):
            admitted.append(asyncio.create_task(api.send(token, f"inside-{number}", to=TO)))
            await eventually(lambda: _has_received(api, len(admitted)))
        yield admitted
    finally:
        api.fakes.transaction.silent_at = None


async def _has_received(api: ApiClient, times: int) -> bool:
    return len(api.fakes.transaction.calls_to("POST", INTAKE)) == times


def _counted() -> float:
    labels = {"service": "gateway", "route": "/api/v1/transfers", "method": "POST", "status": "503"}
    return REGISTRY.get_sample_value("payflow_http_request_duration_seconds_count", labels) or 0


async def test_excess_transfers_are_refused_at_once(open_client: Open, redis_client: Client, token: str) -> None:
    """Guarantee 42: 503 `busy` with `Retry-After` before token and body are checked, and it is counted."""
    async with open_client(requests_max=2) as api, _under_way(api, token, 2) as admitted:
        before = _counted()
        for path in ("transfers", "ops/deposits"):
            refused = await api.call(
                "POST", f"/api/v1/{path}", token="invalid", data=b"{", headers={"X-Request-Id": "mine-1"}
            )

            assert (503, "2") == (refused.status, refused.headers["Retry-After"])
            assert "application/problem+json" == refused.headers["Content-Type"]
            assert "mine-1" == refused.headers["X-Request-Id"]
            assert {"code": "busy", "status": 503, "request_id": "mine-1"}.items() <= refused.json().items()
            assert HEADERS.items() <= refused.headers.items()
        assert 1 == _counted() - before
        assert not any(task.done() for task in admitted)


async def test_invalid_request_id_is_replaced_in_a_refusal(open_client: Open, redis_client: Client, token: str) -> None:
    """A request refused unread also gets a new id if its own is invalid."""
    async with open_client(requests_max=1) as api, _under_way(api, token, 1):
        refused = await api.send(token, "k-1", headers={"X-Request-Id": '"}'})

        assert 503 == refused.status
        assert refused.headers["X-Request-Id"] == refused.json()["request_id"] != '"}'


async def test_other_requests_are_served(open_client: Open, redis_client: Client, token: str, user_id: str) -> None:
    """Guarantee 42: reads and health checks are not affected."""
    async with open_client(requests_max=1) as api, _under_way(api, token, 1):
        wallet_id = api.fakes.wallet.add(user_id)

        assert 503 == (await api.send(token, "k-1", to=TO)).status
        for path in ("/livez", "/readyz", "/api/v1/wallets", f"/api/v1/wallets/{wallet_id}"):
            assert 200 == (await api.call("GET", path, token=token)).status, path


async def test_slots_are_freed_after_responses(open_client: Open, redis_client: Client, token: str) -> None:
    """Guarantee 42: of a burst exactly as many are admitted as the limit; after their responses, as many again."""
    async with open_client(requests_max=4) as api:
        for turn in range(3):
            api.fakes.transaction.silent_at = INTAKE
            burst = [asyncio.create_task(api.send(token, f"{turn}-{number}", to=TO)) for number in range(20)]
            await eventually(lambda burst=burst: _are_done(burst, 16))  # type: ignore[misc]
            api.fakes.transaction.silent_at = None
            responses = await asyncio.gather(*burst)

            assert 4 * [202] + 16 * [503] == sorted(response.status for response in responses)


async def _are_done(tasks: list[asyncio.Task[Response]], count: int) -> bool:
    return count == sum(task.done() for task in tasks)


async def test_cancelled_waiter_frees_its_slot(open_client: Open, redis_client: Client, token: str) -> None:
    """Clients that close their connection while they wait free their slots when their call is over."""
    async with open_client(requests_max=2) as api:
        async with _under_way(api, token, 2) as admitted:
            for task in admitted:
                task.cancel()
            await asyncio.gather(*admitted, return_exceptions=True)

        async def is_admitted() -> bool:
            return 202 == (await api.send(token, "k-1", to=TO)).status

        await eventually(is_admitted)
        api.fakes.transaction.calls.clear()
        await redis_client.flushall()
        # All slots can be taken again, and no more.
        async with _under_way(api, token, 2) as admitted:
            assert 503 == (await api.send(token, "k-2", to=TO)).status
        assert [202, 202] == [(await task).status for task in admitted]


async def test_waiting_for_the_outcome_takes_no_slot(open_client: Open, redis_client: Client, token: str) -> None:
    """Guarantee 42: `Prefer: wait` is load while the transfer is accepted, not while its client only waits."""
    async with open_client(requests_max=1) as api:
        waiting = asyncio.create_task(api.send(token, "k-1", to=TO, headers={"Prefer": "wait=20"}))

        async def is_waiting() -> bool:
            return any("wait" in call.query for call in api.fakes.transaction.calls)

        await eventually(is_waiting)
        assert 202 == (await api.send(token, "k-2", to=TO)).status
        assert not waiting.done()
        api.fakes.transaction.finalizes = True
        assert 200 == (await waiting).status
