"""Who comes to show or set a password while too many do: told to come back, unread; everybody else is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis as Client

from services.contracts.refusals.auth import TooManyLogins
from services.gateway.api import OPERATIONS
from tests.integration.gateway.conftest import ApiClient, Open, Reply, eventually

LOGIN = "/internal/login"
ALICE = {"email": "alice@example.com", "password": "correct horse battery"}
ROWS = [row for row in OPERATIONS if TooManyLogins in row.refusals]


@asynccontextmanager
async def _held_up(api: ApiClient, count: int) -> AsyncIterator[list[asyncio.Task[Reply]]]:
    """So many who log in, at an auth service that answers when the block ends."""
    api.behind.auth.silent_at = LOGIN
    inside = []
    try:
        for number in range(1, count + 1):
            inside.append(asyncio.create_task(_log_in(api)))
            await eventually(lambda number=number: _has_been_asked(api, number))  # type: ignore[misc]
        yield inside
    finally:
        api.behind.auth.silent_at = None
        await asyncio.wait(inside)
        api.behind.auth.calls.clear()


async def _has_been_asked(api: ApiClient, times: int) -> bool:
    return len(api.behind.auth.calls_to("POST", LOGIN)) == times


async def _log_in(api: ApiClient) -> Reply:
    return await api.call("POST", "/api/v1/auth/login", json=ALICE)


async def test_one_too_many_is_told_to_come_back(open_client: Open, redis_client: Client, token: str) -> None:
    """Guarantee 49: whatever has a password hashed is 503 `too_many_logins` with `Retry-After`, before its body is looked at."""
    async with open_client(passwords_max=2) as api, _held_up(api, 2):
        for row in ROWS:
            refused = await api.call(row.method, row.path, token=token, data=b"{")

            assert (503, "too_many_logins") == (refused.status, refused.json()["code"]), row.path
            assert int(refused.headers["Retry-After"]) in range(2, 7)


async def test_a_crowd_does_not_come_back_together(open_client: Open, redis_client: Client) -> None:
    """Guarantee 49: those who are refused at one moment are told different times."""
    async with open_client(passwords_max=1) as api, _held_up(api, 1):
        answers = await asyncio.gather(*(_log_in(api) for _ in range(40)))

        assert len({reply.headers["Retry-After"] for reply in answers}) > 1


async def test_others_are_served_meanwhile(open_client: Open, redis_client: Client, token: str) -> None:
    """Guarantee 49: who has a session, or moves money, meets no crowd."""
    async with open_client(passwords_max=1) as api, _held_up(api, 1):
        assert 200 == (await api.call("GET", "/api/v1/wallets", token=token)).status
        assert 202 == (await api.send(token, "k-1")).status


async def test_exactly_so_many_of_a_crowd_get_in(open_client: Open, redis_client: Client) -> None:
    """Guarantee 49: of a crowd as many get in as may; when they are answered, as many get in again."""
    async with open_client(passwords_max=4) as api:
        for _ in range(3):
            api.behind.auth.silent_at = LOGIN
            crowd = [asyncio.create_task(_log_in(api)) for _ in range(20)]
            await eventually(lambda crowd=crowd: _are_done(crowd, 16))  # type: ignore[misc]
            api.behind.auth.silent_at = None
            answers = await asyncio.gather(*crowd)

            assert 16 == [reply.status for reply in answers].count(503)


async def _are_done(tasks: list[asyncio.Task[Reply]], count: int) -> bool:
    return count == sum(task.done() for task in tasks)


async def test_who_leaves_takes_no_place_along(open_client: Open, redis_client: Client) -> None:
    """Clients that close their connection while they wait leave nothing behind when their call is over."""
    async with open_client(passwords_max=2) as api:
        async with _held_up(api, 2) as inside:
            for task in inside:
                task.cancel()

        async def are_welcome() -> bool:
            return 503 not in [answer.status for answer in await asyncio.gather(_log_in(api), _log_in(api))]

        await eventually(are_welcome)
        api.behind.auth.calls.clear()
        # All places can be taken again, no fewer and no more.
        async with _held_up(api, 2):
            assert 503 == (await _log_in(api)).status


async def test_who_sends_slowly_takes_no_place(open_client: Open, redis_client: Client) -> None:
    """Logins whose body does not arrive keep nobody out."""
    async with open_client(passwords_max=1) as api:
        host, port = api.url.removeprefix("http://").split(":")
        _, slow = await asyncio.open_connection(host, int(port))
        head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n{"
        slow.write(head.encode())
        await slow.drain()

        async with _held_up(api, 1) as inside:
            assert not inside[0].done()
        slow.close()
