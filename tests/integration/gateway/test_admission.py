"""Who comes to move money while too many wait: turned away at once, unread; everybody else is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import REGISTRY
from redis.asyncio import Redis as Client

from services.contracts.identifiers import new_id
from services.gateway.responses import HEADERS
from tests.integration.gateway.conftest import ApiClient, Open, Reply, eventually

INTAKE = "/internal/transfers"
TO = {"wallet_id": str(new_id())}


@asynccontextmanager
async def _held_up(api: ApiClient, token: str, count: int) -> AsyncIterator[list[asyncio.Task[Reply]]]:
    """So many transfers on their way in, to a service behind that answers when the block ends."""
    api.behind.transaction.silent_at = INTAKE
    inside = []
    try:
        for number in range(count):
            inside.append(asyncio.create_task(api.send(token, f"inside-{number}", to=TO)))
            await eventually(lambda: _has_been_asked(api, len(inside)))
        yield inside
    finally:
        api.behind.transaction.silent_at = None


async def _has_been_asked(api: ApiClient, times: int) -> bool:
    return len(api.behind.transaction.calls_to("POST", INTAKE)) == times


def _counted() -> float:
    labels = {"service": "gateway", "route": "/api/v1/transfers", "method": "POST", "status": "503"}
    return REGISTRY.get_sample_value("payflow_http_request_duration_seconds_count", labels) or 0


async def test_one_too_many_is_told_so_at_once(open_client: Open, redis_client: Client, token: str) -> None:
    """Guarantee 42: before token and body are looked at it is 503 `busy` with `Retry-After`, and counted."""
    async with open_client(requests_max=2) as api, _held_up(api, token, 2) as inside:
        before = _counted()
        for path in ("transfers", "ops/deposits"):
            refused = await api.call(
                "POST", f"/api/v1/{path}", token="nobody's", data=b"{", headers={"X-Request-Id": "mine-1"}
            )

            assert (503, "2") == (refused.status, refused.headers["Retry-After"])
            assert "application/problem+json" == refused.headers["Content-Type"]
            assert "mine-1" == refused.headers["X-Request-Id"]
            assert {"code": "busy", "status": 503, "request_id": "mine-1"}.items() <= refused.json().items()
            assert HEADERS.items() <= refused.headers.items()
        assert 1 == _counted() - before
        assert not any(task.done() for task in inside)


async def test_strange_request_id_is_not_passed_on(open_client: Open, redis_client: Client, token: str) -> None:
    """Also who is turned away unread gets an id of ours instead of one that could break the document."""
    async with open_client(requests_max=1) as api, _held_up(api, token, 1):
        refused = await api.send(token, "k-1", headers={"X-Request-Id": '"}'})

        assert 503 == refused.status
        assert refused.headers["X-Request-Id"] == refused.json()["request_id"] != '"}'


async def test_others_are_served_meanwhile(open_client: Open, redis_client: Client, token: str, user_id: str) -> None:
    """Guarantee 42: who reads, and who asks whether the gateway lives, meets no crowd."""
    async with open_client(requests_max=1) as api, _held_up(api, token, 1):
        wallet_id = api.behind.wallet.add(user_id)

        assert 503 == (await api.send(token, "k-1", to=TO)).status
        for path in ("/livez", "/readyz", "/api/v1/wallets", f"/api/v1/wallets/{wallet_id}"):
            assert 200 == (await api.call("GET", path, token=token)).status, path


async def test_everybody_is_welcome_again(open_client: Open, redis_client: Client, token: str) -> None:
    """Guarantee 42: of a crowd exactly so many get in as may; when they are answered, as many get in again."""
    async with open_client(requests_max=4) as api:
        for turn in range(3):
            api.behind.transaction.silent_at = INTAKE
            crowd = [asyncio.create_task(api.send(token, f"{turn}-{number}", to=TO)) for number in range(20)]
            await eventually(lambda crowd=crowd: _are_done(crowd, 16))  # type: ignore[misc]
            api.behind.transaction.silent_at = None
            answers = await asyncio.gather(*crowd)

            assert 4 * [202] + 16 * [503] == sorted(reply.status for reply in answers)


async def _are_done(tasks: list[asyncio.Task[Reply]], count: int) -> bool:
    return count == sum(task.done() for task in tasks)


async def test_who_leaves_takes_no_place_along(open_client: Open, redis_client: Client, token: str) -> None:
    """Clients that close their connection while they wait leave nothing behind when their call is over."""
    async with open_client(requests_max=2) as api:
        async with _held_up(api, token, 2) as inside:
            for task in inside:
                task.cancel()
            await asyncio.gather(*inside, return_exceptions=True)

        async def is_welcome() -> bool:
            return 202 == (await api.send(token, "k-1", to=TO)).status

        await eventually(is_welcome)
        api.behind.transaction.calls.clear()
        await redis_client.flushall()
        # All places can be taken again, no fewer and no more.
        async with _held_up(api, token, 2) as inside:
            assert 503 == (await api.send(token, "k-2", to=TO)).status
        assert [202, 202] == [(await task).status for task in inside]


async def test_who_waits_for_the_outcome_holds_no_place(open_client: Open, redis_client: Client, token: str) -> None:
    """Guarantee 42: `Prefer: wait` is load while the transfer is accepted, not while its client only waits."""
    async with open_client(requests_max=1) as api:
        waiting = asyncio.create_task(api.send(token, "k-1", to=TO, headers={"Prefer": "wait=20"}))

        async def is_waiting() -> bool:
            return any("wait" in call.query for call in api.behind.transaction.calls)

        await eventually(is_waiting)
        assert 202 == (await api.send(token, "k-2", to=TO)).status
        assert not waiting.done()
        api.behind.transaction.finalizes = True
        assert 200 == (await waiting).status
