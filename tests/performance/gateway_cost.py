"""The CPU time that the gateway spends on one request, as a multiple of that of a hello-world handler of aiohttp.

`python -m tests.performance.gateway_cost [TREE ...]` measures the gateway of each source tree (default: this one), interleaved in
one run, with real sockets, a private Redis and upstream services that do nothing. Prints one JSON object per server and request.
`COST_CONNECTIONS`, `COST_ROUNDS` and `COST_REQUESTS` configure the run.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import cast

import orjson
import uvloop
from aiohttp import web

from deploy.local.engines import Redis
from deploy.local.ports import find_free
from services.contracts.identifiers import new_id
from tests.integration.gateway.conftest import PUBLIC_KEYS, SEED
from tests.integration.gateway.upstream_fakes import NOW, Auth, Notification, pending
from tests.performance import requests

MODULE = "tests.performance.gateway_cost"
HOST = "127.0.0.1"
CONNECTIONS = int(os.environ.get("COST_CONNECTIONS", "64"))
REQUESTS = int(os.environ.get("COST_REQUESTS", "1500"))
ROUNDS = int(os.environ.get("COST_ROUNDS", "20"))
UPSTREAM_SECONDS = 0.006
"""About what a commit takes, so that batches form as under real load."""

KINDS = os.environ.get("COST_KINDS", "transfer balance").split()
"""The requests that are measured."""

_LENGTH = re.compile(rb"[Cc]ontent-[Ll]ength: (\d+)")


async def hello(_request: web.Request) -> web.Response:
    """The yardstick."""
    return web.Response(text="hello")


async def accept(request: web.Request) -> web.Response:
    """The transaction service: accepts everything."""
    items = orjson.loads(await request.read())["items"]
    await asyncio.sleep(UPSTREAM_SECONDS)
    return _items([{"transfer": pending(str(new_id()), item), "replayed": False} for item in items])


async def read_wallets(request: web.Request) -> web.Response:
    """The wallet service: every wallet exists."""
    items = orjson.loads(await request.read())["items"]
    await asyncio.sleep(UPSTREAM_SECONDS)
    amounts = {"balance": 1000, "available": 900, "held": 100}
    return _items([{"wallet": {"id": item["wallet_id"], **amounts}, "as_of": NOW} for item in items])


def _items(items: list[object]) -> web.Response:
    return web.Response(body=orjson.dumps({"items": items}), content_type="application/json")


async def serve(port: int) -> None:
    """Serve the yardstick and the upstream services of the hot routes."""
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/internal/transfers", accept)
    app.router.add_post("/internal/balances", read_wallets)
    app.router.add_route("*", "/api/{path:.*}", hello)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    await asyncio.Event().wait()


class Connection(asyncio.Protocol):
    """One keep-alive connection that sends prebuilt requests."""

    _response: asyncio.Future[int] | None = None
    _received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Return the status once the response is complete."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if found and length is not None and self._response is not None and len(body) >= int(length[1]):
            self._received = b""
            self._response.set_result(int(head[9:12]))

    async def send(self, request: bytes) -> int:
        """The status of the response."""
        self._response = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._response


@dataclass
class Target:
    """One server and one kind of request, and the microseconds that each stretch cost per request."""

    name: str
    pid: int
    port: int
    request: Callable[[], bytes]
    status: int
    costs: list[float] = field(default_factory=list)

    async def measure(self) -> None:
        """Send a stretch of requests over all connections."""
        loop = asyncio.get_running_loop()
        opened = [(await loop.create_connection(Connection, HOST, self.port))[1] for _ in range(CONNECTIONS)]

        async def send_some(connection: Connection) -> None:
            for _ in range(REQUESTS // CONNECTIONS):
                assert await connection.send(self.request()) == self.status, self.name

        before = _cpu_seconds(self.pid)
        await asyncio.gather(*map(send_some, opened))
        self.costs.append((_cpu_seconds(self.pid) - before) / (REQUESTS // CONNECTIONS * CONNECTIONS) * 1e6)
        for connection in opened:
            connection.transport.close()

    def ratio_to(self, other: Target) -> float:
        """The median of the ratios of stretches beside each other, so that a slow minute affects both."""
        pairs = zip(self.costs, other.costs, strict=True)
        return round(statistics.median(own / its for own, its in pairs), 2)


def _cpu_seconds(pid: int) -> float:
    # Of the main thread, in nanoseconds.
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


@asynccontextmanager
async def process(*arguments: str, tree: Path, port: int, **variables: str) -> AsyncIterator[int]:
    """A Python process of a source tree that serves a port; its id."""
    started = await asyncio.create_subprocess_exec(
        str(tree / ".venv/bin/python"),
        *("-m", *arguments),
        cwd=tree,
        env={"PATH": os.environ["PATH"], **variables},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(120):
            while not await _accepts(port):
                assert started.returncode is None, f"{arguments} has ended"
                await asyncio.sleep(0.05)
        yield started.pid
    finally:
        started.terminate()
        await started.wait()


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True


@asynccontextmanager
async def gateway(tree: Path, auth: Auth, upstreams: dict[str, str]) -> AsyncIterator[tuple[int, int]]:
    """The gateway of a source tree; its process id and its port."""
    port = find_free()
    public = {name: base64.b64encode(key.public_bytes_raw()).decode() for name, key in PUBLIC_KEYS.items()}
    settings = {
        "host": HOST,
        "gateway_port": str(port),
        "metrics_port": str(find_free()),
        "auth_url": auth.url,
        "rate_limits": "off",
        "service_key": base64.b64encode(SEED).decode(),
        "service_public_keys": json.dumps(public),
        **upstreams,
    }
    variables = {f"PAYFLOW_{name.upper()}": value for name, value in settings.items()}
    async with process("services.gateway", "api", tree=tree, port=port, **variables) as pid:
        yield pid, port


async def main(trees: list[Path]) -> None:
    """Measure and print."""
    async with AsyncExitStack() as stack:
        redis = Redis(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "redis")
        await redis.start()
        stack.push_async_callback(redis.stop)
        auth, notification = Auth("auth", PUBLIC_KEYS), Notification("notification", PUBLIC_KEYS)
        for fake in (auth, notification):
            await fake.start()
            stack.push_async_callback(fake.stop)
        fast = find_free()
        served = await stack.enter_async_context(process(MODULE, "--serve", str(fast), tree=Path.cwd(), port=fast))
        upstreams = dict.fromkeys(("wallet_url", "transaction_url"), f"http://{HOST}:{fast}")
        upstreams |= {"notification_url": notification.url, "redis_url": redis.url}
        token, wallet, keys = auth.token(), str(new_id()), count(10**8)
        head, get = requests.transfer_head(HOST, token), requests.get(HOST, token, f"/wallets/{wallet}/balance")
        kinds: dict[str, tuple[Callable[[], bytes], int]] = {
            "transfer": (lambda: requests.transfer(head, b"%d" % next(keys), wallet.encode()), 202),
            "balance": (lambda: get, 200),
        }
        targets = [Target("hello", served, fast, kinds["transfer"][0], 200)]
        for tree in trees:
            pid, port = await stack.enter_async_context(gateway(tree, auth, upstreams))
            targets += [Target(f"{tree} {name}", pid, port, *kind) for name, kind in kinds.items() if name in KINDS]
        for _ in range(ROUNDS + 1):
            for target in targets:
                await target.measure()
    for target in targets:
        del target.costs[0]  # warming up
        microseconds = round(statistics.median(target.costs), 1)
        line = {"server": target.name, "us_per_request": microseconds, "hellos": target.ratio_to(targets[0])}
        print(json.dumps(line))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        uvloop.run(serve(int(sys.argv[2])))
    else:
        uvloop.run(main([Path(argument).resolve() for argument in sys.argv[1:]] or [Path.cwd()]))
