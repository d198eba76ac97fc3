"""More load than capacity: the excess is refused early, accepted transfers complete, and the system recovers."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, cast
from uuid import UUID, uuid4

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from services.chassis.client import Upstream
from services.contracts.refusals.transaction import Busy
from services.gateway.cache import Cache
from services.gateway.clients.transaction import TransactionClient, TransferItem
from services.gateway.idempotency import Accepted, ResponseCache
from services.gateway.intake import QUEUE_SECONDS_MAX, UNDER_WAY_MAX, Intake
from tests.chaos import timing
from tests.chaos.timing import TimedPerson
from tests.harness.api import ApiClient
from tests.harness.books import faults_when_quiet
from tests.harness.databases import DataFolder
from tests.harness.drills import bound
from tests.harness.services import identities
from tests.harness.stack import Stack, running
from tests.performance import requests

USERS = 8
WORKERS = ("transaction-worker-1", "transaction-worker-2")
SETTINGS = {"PAYFLOW_REVERSAL_AFTER_SECONDS": "60"} | bound({"PAYFLOW_BACKLOG_SECONDS_MAX": "0.5"}, {})
"""Transfers keep their default age of 60 s. The short form lowers the backlog limit, so that a little load is too much."""

TERMINAL_SECONDS_MAX = 90.0
NEARLY_ALL_SECONDS_MAX = 30.0
REFUSED_SECONDS_MAX = 5.0
"""A refused client gets its response long before its own timeout and the gateway's (10 s)."""

CLIENT_SECONDS = 15.0
CALM_SECONDS = 10.0
CAPACITY_SECONDS = 15.0
OVERLOAD_SECONDS = 120.0
NORMAL_PART = 4
"""Normal load is a quarter of capacity; ten times that is two and a half times the capacity."""

TIMES = 10
CONNECTIONS = 4000
QUIET_AFTER_SECONDS = 60.0
SLOWER_MAX = 2

LENGTH = re.compile(rb"[Cc]ontent-[Ll]ength: (\d+)")
RETRY_AFTER = re.compile(rb"[Rr]etry-[Aa]fter: (\d+)")
ID = re.compile(rb'"id": ?"([0-9a-f-]{36})"')


class Sent(NamedTuple):
    """One request; status 0 without a response."""

    seconds: float
    status: int
    retry_after: bool
    transfer_id: UUID | None
    body: bytes


class Connection(asyncio.Protocol):
    """One keep-alive connection that sends prebuilt requests: the client shares the CPU with the system under test."""

    def __init__(self) -> None:
        self._response: asyncio.Future[tuple[bytes, bytes]] | None = None
        self._received = b""
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._response is not None and not self._response.done():
            self._response.set_exception(exc or ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if found and length is not None and len(body) >= int(length[1]):
            self._received = b""
            if self._response is not None and not self._response.done():
                self._response.set_result((head, body))

    async def send(self, request: bytes) -> Sent:
        """Send a request and wait for the response, with a client's timeout."""
        began = time.monotonic()
        self._response = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                head, body = await self._response
        except (TimeoutError, OSError):
            self.transport.abort()
            return Sent(time.monotonic() - began, 0, retry_after=False, transfer_id=None, body=b"")
        status = int(head[9:12])
        found = ID.search(body) if status == 202 else None
        return Sent(
            time.monotonic() - began,
            status,
            retry_after=RETRY_AFTER.search(head) is not None,
            transfer_id=UUID(found[1].decode()) if found else None,
            body=b"" if status == 202 else body,
        )


@dataclass(slots=True)
class Driver:
    """Send transfers between these users through one gateway, at low CPU cost."""

    url: URL
    users: list[TimedPerson]

    async def offer(self, *, per_second: float, seconds: float, connections: int) -> list[Sent]:
        """Send at this rate, regardless of the responses, while a connection is free."""
        sent: list[Sent] = []
        began = time.monotonic()
        until = began + seconds
        starts = (began + number / per_second for number in itertools.count())
        await asyncio.gather(*(self._client(starts, until, sent, number) for number in range(connections)))
        return sent

    async def read(self, *, seconds: float) -> list[Sent]:
        """Read the wallets of a user ten times a second, over one connection."""
        reads: list[Sent] = []
        until = time.monotonic() + seconds
        connection = await self._connect()
        request = (
            f"GET /api/v1/wallets HTTP/1.1\r\nHost: {self.url.host}\r\n"
            f"Authorization: Bearer {self.users[0].token}\r\n\r\n"
        ).encode()
        while time.monotonic() < until:
            reads.append(await connection.send(request))
            if connection.lost:
                connection = await self._connect()
            await asyncio.sleep(0.1)
        connection.transport.close()
        return reads

    async def _client(self, starts: object, until: float, sent: list[Sent], number: int) -> None:
        chance = random.Random(number)
        connection = await self._connect()
        while (start := next(starts)) < until:  # type: ignore[call-overload]
            await asyncio.sleep(max(0.0, start - time.monotonic()))
            if time.monotonic() >= until:
                break
            if connection.lost:
                connection = await self._connect()
            sender, receiver = chance.sample(self.users, 2)
            sent.append(
                await connection.send(
                    requests.transfer(
                        requests.transfer_head(str(self.url.host), sender.token),
                        uuid4().hex.encode(),
                        receiver.wallet_id.encode(),
                    )
                )
            )
        connection.transport.close()

    async def _connect(self) -> Connection:
        assert self.url.host
        assert self.url.port
        while True:
            with suppress(OSError):
                _, connection = await asyncio.get_running_loop().create_connection(
                    Connection, self.url.host, self.url.port
                )
                return connection
            await asyncio.sleep(0.1)


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory, data_folder: DataFolder) -> AsyncIterator[Stack]:
    async with running(tmp_path_factory.mktemp("overload"), SETTINGS, data=data_folder) as started:
        yield started


@pytest.fixture(scope="module")
async def driver(stack: Stack) -> AsyncIterator[Driver]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        api = ApiClient(session, stack["gateway"])
        operator = await api.login("ops@example.com", "payflow-demo-1")
        yield Driver(URL(stack["gateway"]), await timing.register_timed(api, operator, USERS))


@pytest.mark.short_drill
async def test_load_beyond_capacity(stack: Stack, driver: Driver) -> None:
    """Guarantee 42, short form: without a worker the backlog grows until new transfers are refused; the rest completes."""
    warm = await driver.offer(per_second=200, seconds=3, connections=16)
    assert [] == await faults_when_quiet(stack, ids(warm), seconds=60)
    for worker in WORKERS:
        await stack.take_down(worker)
    sent: list[Sent] = []
    try:
        async with asyncio.timeout(60):
            while not any(one.status == 503 for one in sent):
                sent += await driver.offer(per_second=10_000, seconds=1, connections=64)
    finally:
        for worker in WORKERS:
            stack.bring_up(worker)
    for worker in WORKERS:
        await stack.ready(worker)

    assert {202, 503} == {one.status for one in sent}, Counter((one.status, one.body) for one in sent)
    assert all(one.retry_after and b'"busy"' in one.body for one in sent if one.status == 503)
    assert [] == await faults_when_quiet(stack, ids(sent), seconds=TERMINAL_SECONDS_MAX)
    assert await longest(stack, ids(sent)) < TERMINAL_SECONDS_MAX
    # Transfers are accepted again without intervention.
    async with asyncio.timeout(30):
        while (await driver.offer(per_second=10, seconds=0.5, connections=1))[-1].status != 202:
            pass


async def test_a_stalled_queue_refuses_new_requests() -> None:
    """Guarantee 42: when thousands wait and the oldest has waited long, a new request is refused at once, not after the wait."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(silent_service())
        transaction = Upstream("gateway", "transaction", url, identities()["gateway"])
        stack.push_async_callback(transaction.close)
        client = TransactionClient(transaction, intake=transaction, waits=[transaction])
        intake = Intake(client, ResponseCache(Cache("redis://127.0.0.1:1")))
        assert not intake.is_full
        began = time.monotonic()
        waiting = [asyncio.create_task(intake.accept(item(number))) for number in range(UNDER_WAY_MAX)]
        stack.push_async_callback(end, waiting)

        refused = await first_refusal(intake, seconds=QUEUE_SECONDS_MAX + 3)
        assert QUEUE_SECONDS_MAX < time.monotonic() - began
        assert {"Retry-After": "2"} == refused.headers
        assert intake.is_full
        assert not any(task.done() for task in waiting)
        # Transfers by e-mail use another queue.
        other = asyncio.create_task(intake.accept(item(-1, to={"email": "bob@example.com"})))
        waiting.append(other)
        await asyncio.wait([other], timeout=0.1)
        assert not other.done()


async def first_refusal(intake: Intake, *, seconds: float) -> Busy:
    """The first refusal for an impatient client that keeps retrying."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                await asyncio.wait_for(intake.accept(item(-2)), 0.1)
            except TimeoutError:
                continue
            except Busy as refused:
                return refused


async def end(tasks: list[asyncio.Task[Accepted]]) -> None:
    """Cancel the waiting requests."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def silent_service() -> AsyncIterator[str]:
    """The URL of a service that accepts every request and never responds."""
    silent = asyncio.Event()

    async def never_respond(_request: web.Request) -> web.Response:
        await silent.wait()
        return web.Response(status=503)

    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", never_respond)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        silent.set()
        await runner.cleanup()


def item(number: int, to: dict[str, str] | None = None) -> TransferItem:
    """One transfer to accept."""
    return {
        "user_id": "user",
        "idempotency_key": str(number),
        "request_hash": "hash",
        "kind": "transfer",
        "amount": 1,
        "currency": "USD",
        "to": to or {"wallet_id": str(number)},
        "from_wallet_id": None,
        "description": None,
        "metadata": None,
        "request_id": "request",
        "traceparent": None,
    }


@pytest.mark.full_drill
@pytest.mark.timeout(900)
async def test_ten_times_the_load(stack: Stack, driver: Driver) -> None:
    """Guarantee 42: ten times the load for two minutes: accepted transfers complete in time, the rest is refused early."""
    calm, calm_late = await watched(driver.offer(per_second=20, seconds=CALM_SECONDS, connections=20))
    began = time.monotonic()
    filled = await driver.offer(per_second=1e6, seconds=CAPACITY_SECONDS, connections=32)
    capacity = sum(one.status == 202 for one in filled) / (time.monotonic() - began)
    await faults_when_quiet(stack, ids(filled), seconds=TERMINAL_SECONDS_MAX)
    rate = capacity / NORMAL_PART * TIMES
    reading = asyncio.create_task(driver.read(seconds=OVERLOAD_SECONDS))
    over, over_late = await watched(driver.offer(per_second=rate, seconds=OVERLOAD_SECONDS, connections=CONNECTIONS))
    ended = time.monotonic()
    reads = await reading
    wrong = await faults_when_quiet(stack, ids(over), seconds=TERMINAL_SECONDS_MAX + 30)
    await asyncio.sleep(max(0.0, ended + QUIET_AFTER_SECONDS - time.monotonic()))
    after, after_late = await watched(driver.offer(per_second=20, seconds=CALM_SECONDS, connections=20))

    refused = [one for one in over if one.status in (429, 503)]
    took = await durations(stack, ids(over))
    timing.report(
        "42",
        load_average=os.getloadavg(),
        capacity_per_s=round(capacity),
        offered_per_s=round(len(over) / OVERLOAD_SECONDS),
        statuses=Counter(one.status for one in over),
        codes=Counter(one.body[-400:].decode(errors="replace").partition('"code": ')[2][:25] for one in refused),
        accept_ms=percentiles([one.seconds for one in over if one.status == 202]),
        refuse_ms=percentiles([one.seconds for one in refused]),
        reads={"statuses": Counter(one.status for one in reads)} | percentiles([one.seconds for one in reads]),
        terminal_s={"p50": percentile(took, 50), "p99": percentile(took, 99), "max": round(max(took) * 1000)},
        calm_ms=percentiles([one.seconds for one in calm]) | {"driver_late": percentile(calm_late, 99)},
        over_driver_late_ms=percentiles(over_late),
        after_ms=percentiles([one.seconds for one in after]) | {"driver_late": percentile(after_late, 99)},
    )
    assert [] == wrong
    assert {one.status for one in over} <= {202, 429, 503}
    assert all(one.retry_after for one in refused)
    assert {200} == {one.status for one in reads}
    assert max((one.seconds for one in refused), default=0) < REFUSED_SECONDS_MAX
    assert max(took) < TERMINAL_SECONDS_MAX
    assert percentile(took, 99) < NEARLY_ALL_SECONDS_MAX * 1000
    assert {202} == {one.status for one in after}
    assert percentile([one.seconds for one in after], 99) < SLOWER_MAX * percentile([one.seconds for one in calm], 99)


async def watched(offered: Coroutine[Any, Any, list[Sent]]) -> tuple[list[Sent], list[float]]:
    """The results, and how late this process was meanwhile."""
    async with timing.lateness() as late:
        return await offered, late.seconds


def ids(sent: list[Sent]) -> set[UUID]:
    """The ids of accepted transfers."""
    return {one.transfer_id for one in sent if one.transfer_id is not None}


async def durations(stack: Stack, of: set[UUID]) -> list[float]:
    """Seconds from accepted to terminal of each transfer."""
    rows = await stack.query(
        "transaction",
        "SELECT extract(epoch FROM coalesce(completed_at, failed_at) - created_at)::float8 AS took FROM transfers "
        "WHERE id = ANY($1::uuid[]) AND status <> 'PENDING'",
        list(of),
    )
    return [row["took"] for row in rows]


async def longest(stack: Stack, of: set[UUID]) -> float:
    """The longest duration in seconds."""
    return max(await durations(stack, of))


def percentile(seconds: list[float], percent: int) -> float:
    """The given percentile, in milliseconds."""
    return round(sorted(seconds)[min(len(seconds) - 1, len(seconds) * percent // 100)] * 1000, 1) if seconds else 0.0


def percentiles(seconds: list[float]) -> dict[str, float]:
    """The median, the 99th percentile and the maximum, in milliseconds."""
    return {"p50": percentile(seconds, 50), "p99": percentile(seconds, 99), "max": percentile(seconds, 100)}
