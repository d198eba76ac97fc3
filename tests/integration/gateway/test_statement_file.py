"""Guarantee 59d: statements as files of any length are complete, or visibly incomplete."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import socket
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import REGISTRY

from services.chassis import server, watchdog
from services.chassis.database import Pool, close_pool
from services.chassis.replica import Reader
from services.chassis.service_tokens import TokenVerifier
from services.contracts.identifiers import new_id
from services.gateway import file_stream
from services.gateway.api import wallets
from services.wallet import api as wallet_api
from services.wallet import commands
from services.wallet.app import PLANNER
from tests.harness.databases import TestDatabase
from tests.harness.ledgers import fund, post, posting
from tests.integration.gateway.conftest import PUBLIC_KEYS, ApiClient, Open, Response, eventually
from tests.integration.gateway.test_wallets import WALLETS, fill
from tests.integration.gateway.upstream_fakes import Call, Wallet, problem

CSV = {"Accept": "text/csv"}
PAGE = 200
LONG = "long " * 28
MANY_PAGES = 100
"""With long lines and small buffers this is many times the capacity of all buffers."""

ENTRIES = 10_050


@pytest.fixture
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fixed size for the gateway's send buffer: the kernel would let it grow to megabytes."""
    send = file_stream.send

    async def send_file(request: web.Request, *arguments: Any, **named: Any) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**14)
        return await send(request, *arguments, **named)

    monkeypatch.setattr(file_stream, "send", send_file)


def seqs(body: bytes) -> list[int]:
    """The numbers of the lines of a file, in order."""
    return [int(row["seq"]) for row in csv.DictReader(io.StringIO(body.decode(), newline=""))]


@pytest.fixture
async def pool(wallet_database: TestDatabase) -> AsyncIterator[Pool]:
    opened = await wallet_database.pool(**PLANNER)
    yield opened
    await close_pool(opened)


@pytest.fixture
async def wallet_url(pool: Pool) -> AsyncIterator[str]:
    """The wallet service itself."""
    app = server.application("wallet")
    app[wallet_api.POOL] = app[wallet_api.READ_POOL] = app[wallet_api.PROOF_POOL] = pool
    app[wallet_api.READER] = Reader(pool)
    wallet_api.add_routes(app, TokenVerifier(PUBLIC_KEYS, audience="wallet"))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def owned(pool: Pool, user_id: str) -> tuple[UUID, UUID]:
    """A wallet with money, and an empty one of the user."""
    [source] = await fund(pool, [1_000_000])
    wallet, _ = await commands.open_wallet(pool, owner_id=UUID(user_id), currency="USD")
    return source, wallet.id


async def pay(pool: Pool, source: UUID, destination: UUID, count: int) -> None:
    for start in range(0, count, 1024):
        batch = [posting(source, destination, 1, seconds=600) for _ in range(min(1024, count - start))]
        assert {"posted"} == set(await post(pool, *batch))


async def test_a_file_has_every_entry(open_client: Open, wallet_url: str, pool: Pool, user_id: str, token: str) -> None:
    """10,050 entries are 10,050 lines in one file, newest first, though others arrive while it is read."""
    source, wallet = await owned(pool, user_id)
    await pay(pool, source, wallet, ENTRIES)
    async with open_client(wallet_url=wallet_url) as api:
        async with api.session.get(
            f"{api.url}{WALLETS}/{wallet}/statement", headers=CSV | {"Authorization": f"Bearer {token}"}
        ) as response:
            begun = await response.content.readany()
            await pay(pool, source, wallet, 100)
            whole = begun + await response.read()
        later = await api.call("GET", f"{WALLETS}/{wallet}/statement", token=token, headers=CSV)

    assert (200, "text/csv; charset=utf-8") == (response.status, response.headers["Content-Type"])
    assert f'attachment; filename="statement-{wallet}.csv"' == response.headers["Content-Disposition"]
    assert "Link" not in response.headers
    assert list(range(ENTRIES, 0, -1)) == seqs(whole)
    assert list(range(ENTRIES + 100, 0, -1)) == seqs(later.body)


async def test_pages_and_files_of_the_wallet_service(
    open_client: Open, wallet_url: str, pool: Pool, user_id: str, token: str
) -> None:
    """Guarantee 59: 1,000 entries paged through the gateway while 200 are posted: none skipped or repeated.

    A file of a period holds the entries of the period.
    """
    source, wallet = await owned(pool, user_id)
    for _ in range(10):
        await pay(pool, source, wallet, 100)
    path = f"{WALLETS}/{wallet}/statement"
    async with open_client(wallet_url=wallet_url) as api:
        lines: list[dict[str, Any]] = []
        cursor: str | None = None
        while cursor is not None or not lines:
            params = {"limit": "37"} | ({"cursor": cursor} if cursor else {})
            page = (await api.call("GET", path, token=token, params=params)).json()
            lines += page["items"]
            cursor = page["next_cursor"]
            if len(lines) <= 10 * 37:
                await pay(pool, source, wallet, 20)
        limits = {"from": lines[-1]["created_at"], "to": lines[0]["created_at"]}
        cut = await api.call("GET", path, token=token, params=limits, headers=CSV)

    assert list(range(1000, 0, -1)) == [line["seq"] for line in lines]
    assert list(range(900, 0, -1)) == seqs(cut.body)
    assert 1200 == await pool.fetchval("SELECT seq FROM accounts WHERE id = $1", wallet)


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_a_file_that_cannot_be_completed_is_visibly_incomplete(
    api: ApiClient, token: str, user_id: str, encoding: str
) -> None:
    """If a later page fails, the response is not terminated: no client takes it for a complete file."""
    wallet_id = api.fakes.wallet.add(user_id)
    fill(api.fakes.wallet, 5 * PAGE, None)
    _fail_after(api.fakes.wallet, 3 * PAGE)
    headers = CSV | {"Authorization": f"Bearer {token}", "Accept-Encoding": encoding}

    async with api.session.get(f"{api.url}{WALLETS}/{wallet_id}/statement", headers=headers) as response:
        assert 200 == response.status
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_a_refused_first_page_is_a_problem(api: ApiClient, token: str, user_id: str) -> None:
    """Until a file has started, errors are normal problem responses."""
    wallet_id = api.fakes.wallet.add(user_id)
    fill(api.fakes.wallet, 5 * PAGE, None)
    _fail_after(api.fakes.wallet, 0)

    response = await api.call("GET", f"{WALLETS}/{wallet_id}/statement", token=token, headers=CSV)

    assert (503, "database_unavailable") == (response.status, response.json()["code"])
    assert "Content-Disposition" not in response.headers


async def test_a_long_file_is_compressed(api: ApiClient, token: str, user_id: str) -> None:
    """With gzip the same lines arrive, and `Vary` names the encoding."""
    wallet_id = api.fakes.wallet.add(user_id)
    fill(api.fakes.wallet, 3 * PAGE, None)
    headers = CSV | {"Accept-Encoding": "gzip", "Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(f"{api.url}{WALLETS}/{wallet_id}/statement", headers=headers) as response,
    ):
        body = await response.read()

    assert ("gzip", "chunked") == (response.headers["Content-Encoding"], response.headers["Transfer-Encoding"])
    assert {"Accept", "Accept-Encoding"} <= set(response.headers["Vary"].split(", "))
    assert list(range(3 * PAGE, 0, -1)) == seqs(zlib.decompress(body, wbits=31))


async def test_only_the_headers_of_a_file(api: ApiClient, token: str, user_id: str) -> None:
    """HEAD reads one page and sends nothing of it."""
    wallet_id = api.fakes.wallet.add(user_id)
    fill(api.fakes.wallet, 3 * PAGE, None)

    response = await api.call("HEAD", f"{WALLETS}/{wallet_id}/statement", token=token, headers=CSV)

    assert (200, b"") == (response.status, response.body)
    assert response.headers["Content-Type"].startswith("text/csv")
    assert "Content-Length" not in response.headers
    assert 1 == len(_pages(api, wallet_id))


async def test_http_1_0_gets_a_short_file_with_its_length(api: ApiClient, token: str, user_id: str) -> None:
    """HTTP/1.0 has no chunks: a file of one page is sent with Content-Length, so an interruption is visible."""
    wallet_id = api.fakes.wallet.add(user_id)
    fill(api.fakes.wallet, PAGE, None)
    async with _asked(api, token, wallet_id, version="1.0") as reader:
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.0 200 ")
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")
    assert list(range(PAGE, 0, -1)) == seqs(body)


async def test_http_1_0_is_refused_a_long_file(api: ApiClient, token: str, user_id: str) -> None:
    """Over HTTP/1.0 an aborted long file would look complete: 426, before any line of it is sent."""
    wallet_id = api.fakes.wallet.add(user_id)
    fill(api.fakes.wallet, PAGE + 1, None)
    async with _asked(api, token, wallet_id, version="1.0") as reader:
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.0 426 ")
    assert {b"Upgrade: HTTP/1.1", b"Connection: Upgrade", b"Content-Type: application/problem+json"} <= set(
        head.split(b"\r\n")
    )
    assert "http_version_too_old" == json.loads(body)["code"]


@pytest.mark.usefixtures("small_buffers")
async def test_a_stop_aborts_files_in_progress(
    open_client: Open, token: str, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that does not read its file does not delay the stop of the gateway, and sees an incomplete response."""
    monkeypatch.setattr(watchdog, "RESPONSE_SECONDS", 600.0)
    await _stop_with_a_stalled_client(open_client, token, user_id, monkeypatch)


@pytest.mark.usefixtures("small_buffers")
async def test_clients_that_do_not_read_are_disconnected_during_a_stop(
    open_client: Open, token: str, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time limit for unread responses holds during the drain too; tested with a file that is not aborted by the stop."""

    async def abort(_files: file_stream.Files, _app: web.Application) -> None:
        monkeypatch.setattr(watchdog, "RESPONSE_SECONDS", 0.2)

    monkeypatch.setattr(watchdog, "RESPONSE_SECONDS", 600.0)
    monkeypatch.setattr(file_stream.Files, "abort", abort)
    await _stop_with_a_stalled_client(open_client, token, user_id, monkeypatch)


@pytest.mark.usefixtures("small_buffers")
async def test_files_of_a_user_are_limited(
    api: ApiClient, token: str, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more file than a user may download at the same time is a 429; other users, and files of one page, are not affected."""
    monkeypatch.setattr(watchdog, "RESPONSE_SECONDS", 600.0)
    wallet_id = api.fakes.wallet.add(user_id)
    fill(api.fakes.wallet, MANY_PAGES * PAGE, None, LONG)
    other_user = str(new_id())
    path = f"{WALLETS}/{wallet_id}/statement"
    other_path = f"{WALLETS}/{api.fakes.wallet.add(other_user)}/statement"
    async with AsyncExitStack() as stack:
        for _ in range(file_stream.FILES_OF_USER_MAX):
            reader = await stack.enter_async_context(_asked(api, token, wallet_id))
            assert b" 200 " in await reader.readuntil(b"\r\n")
        one_more = await api.call("GET", path, token=token, headers=CSV)
        fill(api.fakes.wallet, 2 * PAGE, None)
        other = await api.call("GET", other_path, token=api.fakes.auth.token(sub=other_user), headers=CSV)
        page = await api.call("GET", path, token=token, headers=CSV, params={"limit": "1"})

    async def is_free() -> bool:
        return (await api.call("GET", path, token=token, headers=CSV)).status == 200

    await eventually(is_free, seconds=60)
    assert (429, "too_many_files") == (one_more.status, one_more.json()["code"])
    assert int(one_more.headers["Retry-After"]) > 0
    assert (200, 200) == (other.status, page.status)


@pytest.mark.usefixtures("small_buffers")
async def test_pages_wait_for_the_reader(
    api: ApiClient, token: str, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a client does not read, only what fits the buffers is read from the wallet service; then it gets all lines."""
    monkeypatch.setattr(watchdog, "RESPONSE_SECONDS", 600.0)
    count = MANY_PAGES * PAGE
    wallet_id = api.fakes.wallet.add(user_id)
    fill(api.fakes.wallet, count, None, LONG)
    async with _asked(api, token, wallet_id) as reader:
        await _until_still(lambda: len(_pages(api, wallet_id)))
        read = len(_pages(api, wallet_id))
        body = await _read_chunks(reader)

    assert read < MANY_PAGES // 2
    assert list(range(count, 0, -1)) == seqs(body)


@pytest.mark.usefixtures("small_buffers")
async def test_a_client_that_does_not_read_is_disconnected(
    api: ApiClient, token: str, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not keep its connection, and what it reads later is incomplete."""
    monkeypatch.setattr(watchdog, "RESPONSE_SECONDS", 0.2)
    wallet_id = api.fakes.wallet.add(user_id)
    fill(api.fakes.wallet, MANY_PAGES * PAGE, None, LONG)
    before = _cut()

    async def is_cut() -> bool:
        return _cut() > before

    async with _asked(api, token, wallet_id) as reader:
        await eventually(is_cut, seconds=60)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await _read_chunks(reader)


@pytest.mark.usefixtures("small_buffers")
async def test_the_end_of_a_session_ends_its_files(
    api: ApiClient, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the session has ended no further page is sent."""
    monkeypatch.setattr(watchdog, "RESPONSE_SECONDS", 600.0)
    session_id = str(new_id())
    token = api.fakes.auth.token(sub=user_id, sid=session_id)
    wallet_id = api.fakes.wallet.add(user_id)
    fill(api.fakes.wallet, MANY_PAGES * PAGE, None, LONG)

    async def is_out() -> bool:
        return (await api.call("GET", WALLETS, token=token)).status == 401

    async with _asked(api, token, wallet_id) as reader:
        await _until_still(lambda: len(_pages(api, wallet_id)))
        api.fakes.auth.ended.append(session_id)
        await eventually(is_out, seconds=60)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await _read_chunks(reader)


async def test_files_take_turns(api: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files are downloaded at once, two of their pages are read at a time, and all files are complete."""
    users = [str(new_id()) for _ in range(8)]
    wallet = api.fakes.wallet
    fill(wallet, 5 * PAGE, None)
    under_way: list[Call] = []
    most = 0

    async def respond(call: Call) -> web.StreamResponse:
        nonlocal most
        if "cursor" not in call.query:
            return await Wallet.respond(wallet, call)
        under_way.append(call)
        most = max(most, len(under_way))
        await asyncio.sleep(0.01)
        under_way.remove(call)
        return await Wallet.respond(wallet, call)

    monkeypatch.setattr(wallet, "respond", respond)
    files = await asyncio.gather(*(_file(api, user) for user in users))

    assert wallets.FILE_PAGES_AT_ONCE == most
    assert [list(range(5 * PAGE, 0, -1))] * 8 == [seqs(file.body) for file in files]


async def _stop_with_a_stalled_client(
    open_client: Open, token: str, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "DRAIN_SECONDS", 600.0)
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(open_client())
        wallet_id = api.fakes.wallet.add(user_id)
        fill(api.fakes.wallet, MANY_PAGES * PAGE, None, LONG)
        reader = await stack.enter_async_context(_asked(api, token, wallet_id))
        await _until_still(lambda: len(_pages(api, wallet_id)))
        api.runtime.stopping.set()
        await eventually(lambda: _is_closed(api), seconds=60)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await _read_chunks(reader)


async def _file(api: ApiClient, user_id: str) -> Response:
    path = f"{WALLETS}/{api.fakes.wallet.add(user_id)}/statement"
    return await api.call("GET", path, token=api.fakes.auth.token(sub=user_id), headers=CSV)


async def _is_closed(api: ApiClient) -> bool:
    return api.serving.done()


def _fail_after(wallet: Wallet, lines: int) -> None:
    async def respond(call: Call) -> web.StreamResponse:
        if call.path.endswith("/statement") and int(call.query.get("cursor", "0")) >= lines:
            return problem(503, "database_unavailable")
        return await Wallet.respond(wallet, call)

    wallet.respond = respond  # type: ignore[method-assign]


def _cut() -> float:
    labels = {"service": "gateway", "reason": "response"}
    return REGISTRY.get_sample_value("payflow_connections_cut_total", labels) or 0.0


def _pages(api: ApiClient, wallet_id: str) -> list[Call]:
    return api.fakes.wallet.calls_to("GET", f"/internal/wallets/{wallet_id}/statement")


@asynccontextmanager
async def _asked(
    api: ApiClient, token: str, wallet_id: str, *, version: str = "1.1"
) -> AsyncIterator[asyncio.StreamReader]:
    host, port = api.url.removeprefix("http://").split(":")
    # A small window, so that an unread response soon stops the sender.
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=connection, limit=2**16)
    lines = (
        f"GET {WALLETS}/{wallet_id}/statement HTTP/{version}",
        f"Host: {host}",
        f"Authorization: Bearer {token}",
        "Accept: text/csv",
    )
    writer.write("\r\n".join([*lines, "", ""]).encode())
    try:
        yield reader
    finally:
        writer.close()


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    """The body of a chunked response.

    Raises:
        asyncio.IncompleteReadError, ConnectionError: it ends before its last chunk.
    """
    await reader.readuntil(b"\r\n\r\n")
    body = bytearray()
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    return bytes(body)


async def _until_still(count: Callable[[], int]) -> None:
    """Wait until the count has started and stopped growing."""
    before, still = 0, 0
    while still < 10:
        await asyncio.sleep(0.05)
        before, still = count(), still + 1 if count() == before > 0 else 0
