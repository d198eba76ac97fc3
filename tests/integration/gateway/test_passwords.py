"""Admission control of password checks: above the cap they are refused unread, and all other requests are served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis as Client

from services.contracts.refusals.auth import TooManyLogins
from services.gateway.api import OPERATIONS
from tests.integration.gateway.conftest import ApiClient, Open, Response, eventually

LOGIN = "/internal/login"
ALICE = {"email": "alice@example.com", "password": "correct horse battery"}
ROWS = [row for row in OPERATIONS if TooManyLogins in row.refusals]


@asynccontextmanager
async def _under_way(api: ApiClient, count: int) -> AsyncIterator[list[asyncio.Task[Response]]]:
    """Logins under way, at an auth service that responds when the block ends."""
    api.fakes.auth.silent_at = LOGIN
    admitted = []
    try:
        for number in range(1, count + 1):
            admitted.append(asyncio.create_task(_log_in(api)))
            await eventually(lambda number=number: _has_received(api, number))  # type: ignore[misc]
        yield admitted
    finally:
        api.fakes.auth.silent_at = None
        await asyncio.wait(admitted)
        api.fakes.auth.calls.clear()


async def _has_received(api: ApiClient, times: int) -> bool:
    return len(api.fakes.auth.calls_to("POST", LOGIN)) == times


async def _log_in(api: ApiClient) -> Response:
    return await api.call("POST", "/api/v1/auth/login", json=ALICE)


async def test_excess_logins_are_refused_at_once(open_client: Open, redis_client: Client, token: str) -> None:
    """Guarantee 49: requests that hash a password get 503 `too_many_logins` with `Retry-After` before the body is checked."""
    async with open_client(passwords_max=2) as api, _under_way(api, 2):
        for row in ROWS:
            refused = await api.call(row.method, row.path, token=token, data=b"{")

            assert (503, "too_many_logins") == (refused.status, refused.json()["code"]), row.path
            assert int(refused.headers["Retry-After"]) in range(2, 7)


async def test_refused_logins_retry_at_different_times(open_client: Open, redis_client: Client) -> None:
    """Guarantee 49: clients refused together get different values of `Retry-After`."""
    async with open_client(passwords_max=1) as api, _under_way(api, 1):
        responses = await asyncio.gather(*(_log_in(api) for _ in range(40)))

        assert len({response.headers["Retry-After"] for response in responses}) > 1


async def test_other_requests_are_served(open_client: Open, redis_client: Client, token: str) -> None:
    """Guarantee 49: requests of sessions and transfers are not affected."""
    async with open_client(passwords_max=1) as api, _under_way(api, 1):
        assert 200 == (await api.call("GET", "/api/v1/wallets", token=token)).status
        assert 202 == (await api.send(token, "k-1")).status


async def test_a_burst_gets_exactly_the_free_slots(open_client: Open, redis_client: Client) -> None:
    """Guarantee 49: of a burst exactly as many are admitted as the cap; after their responses, as many again."""
    async with open_client(passwords_max=4) as api:
        for _ in range(3):
            api.fakes.auth.silent_at = LOGIN
            burst = [asyncio.create_task(_log_in(api)) for _ in range(20)]
            await eventually(lambda burst=burst: _are_done(burst, 16))  # type: ignore[misc]
            api.fakes.auth.silent_at = None
            responses = await asyncio.gather(*burst)

            assert 16 == [response.status for response in responses].count(503)


async def _are_done(tasks: list[asyncio.Task[Response]], count: int) -> bool:
    return count == sum(task.done() for task in tasks)


async def test_cancelled_waiter_frees_its_slot(open_client: Open, redis_client: Client) -> None:
    """Clients that close their connection while they wait free their slots when their call is over."""
    async with open_client(passwords_max=2) as api:
        async with _under_way(api, 2) as admitted:
            for task in admitted:
                task.cancel()

        async def are_welcome() -> bool:
            return 503 not in [response.status for response in await asyncio.gather(_log_in(api), _log_in(api))]

        await eventually(are_welcome)
        api.fakes.auth.calls.clear()
        # All slots can be taken again, and no more.
        async with _under_way(api, 2):
            assert 503 == (await _log_in(api)).status


async def test_a_slow_body_takes_no_slot(open_client: Open, redis_client: Client) -> None:
    """Logins whose body does not arrive take no slot."""
    async with open_client(passwords_max=1) as api:
        host, port = api.url.removeprefix("http://").split(":")
        _, slow = await asyncio.open_connection(host, int(port))
        head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n{"
        slow.write(head.encode())
        await slow.drain()

        async with _under_way(api, 1) as admitted:
            assert not admitted[0].done()
        slow.close()
