"""A closed loop of clients that send transfers through a running gateway: `python -m tests.performance.load`.

Prints as JSON the transfers accepted and completed per second and their durations. The stack must run with
PAYFLOW_RATE_LIMITS=off; `BENCH_SECONDS` and `BENCH_CONCURRENCY` configure the run.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import statistics
import time
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import aiohttp
import asyncpg
import uvloop
from yarl import URL

from deploy.local import environment

SECONDS = float(os.environ.get("BENCH_SECONDS", "10"))
CONCURRENCY = int(os.environ.get("BENCH_CONCURRENCY", "64"))
HOME = Path(os.environ.get("PAYFLOW_HOME", ".payflow"))
PEOPLE = 64
DEPOSIT = 10**12


class Connection(asyncio.Protocol):
    """One keep-alive connection that sends prebuilt requests: the cheapest possible client, because its CPU time counts."""

    def __init__(self) -> None:
        self._response: asyncio.Future[tuple[int, bytes]] | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or self._response is None:
            return
        length = int(_LENGTH.search(head)[1])  # type: ignore[index]
        if len(body) >= length:
            self._received = b""
            response, self._response = self._response, None
            response.set_result((int(head[9:12]), body))

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """The status and the body of the response."""
        self._response = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._response


_LENGTH = re.compile(rb"[Cc]ontent-[Ll]ength: (\d+)")


def transfer_request(host: str, token: str, to_wallet: str, key: str) -> bytes:
    """The bytes of one POST /transfers of one minor unit."""
    body = f'{{"amount":1,"currency":"USD","to":{{"wallet_id":"{to_wallet}"}}}}'
    return (
        f"POST /api/v1/transfers HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        f"Idempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


class Client:
    """A user with a token and a wallet."""

    def __init__(self, session: aiohttp.ClientSession, base: str, token: str) -> None:
        self.session, self.base = session, base
        self.token = token
        self.headers = {"Authorization": f"Bearer {token}"}
        self.wallet_id = ""

    async def post(self, path: str, body: Any, *, key: str | None = None) -> tuple[int, Any]:
        headers = self.headers | ({"Idempotency-Key": key} if key else {})
        async with self.session.post(f"{self.base}/api/v1{path}", json=body, headers=headers) as response:
            return response.status, await response.json()

    async def get(self, path: str) -> Any:
        async with self.session.get(f"{self.base}/api/v1{path}", headers=self.headers) as response:
            return await response.json()


async def sign_in(session: aiohttp.ClientSession, base: str, path: str, body: Any) -> Client:
    async with session.post(f"{base}/api/v1{path}", json=body) as response:
        user = await response.json()
        assert response.status < 300, user
    client = Client(session, base, user["access_token"])
    client.wallet_id = (await client.get("/wallets"))["items"][0]["id"]
    return client


async def register_users(session: aiohttp.ClientSession, base: str) -> list[Client]:
    """Register users and fund them by the operator."""
    operator = await sign_in(session, base, "/auth/login", {"email": "ops@example.com", "password": "payflow-demo-1"})
    made = []
    for number in range(PEOPLE):
        body = {"email": f"load-{uuid4().hex}@example.com", "password": uuid4().hex, "name": f"Load {number}"}
        made.append(await sign_in(session, base, "/auth/register", body))
    for client in made:
        deposit = {"wallet_id": client.wallet_id, "amount": DEPOSIT, "currency": "USD", "reference": "load"}
        status, response = await operator.post("/ops/deposits", deposit, key=uuid4().hex)
        assert status == 202, response
    async with asyncio.timeout(30):
        while (await made[-1].get(f"/wallets/{made[-1].wallet_id}"))["balance"] < DEPOSIT:
            await asyncio.sleep(0.05)
    return made


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    return {f"p{p}": round(cuts[p - 1] * 1000, 2) for p in (50, 95, 99)}


async def main() -> None:
    environment.forget_driver_variables(os.environ)
    stack = json.loads((HOME / "stack.json").read_text())
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        clients = await register_users(session, stack["gateway"])
        took: list[float] = []
        responses: dict[int, int] = {}
        ids: list[str] = []
        run = uuid4().hex
        cpu_before = time.process_time()
        started = time.perf_counter()

        async def loop(number: int) -> None:
            rng = random.Random(number)
            client = clients[number % len(clients)]
            url = URL(stack["gateway"])
            assert url.host
            assert url.port
            running = asyncio.get_running_loop()
            _, connection = await running.create_connection(Connection, url.host, url.port)
            while time.perf_counter() - started < SECONDS:
                other = rng.choice(clients)
                if other is client:
                    continue
                begun = time.perf_counter()
                status, response = await connection.send(
                    transfer_request(str(url.host), client.token, other.wallet_id, f"{run}-{number}-{len(took)}")
                )
                took.append(time.perf_counter() - begun)
                responses[status] = responses.get(status, 0) + 1
                if status == 202:
                    ids.append(json.loads(response)["id"])

        await asyncio.gather(*(loop(number) for number in range(CONCURRENCY)))
        sent_for = time.perf_counter() - started
        cpu = time.process_time() - cpu_before
    database = await asyncpg.connect(stack["databases"]["transaction"])
    async with asyncio.timeout(120):
        while await database.fetchval("SELECT count(*) FROM transfers WHERE status = 'PENDING'"):
            await asyncio.sleep(0.05)
    finished_after = time.perf_counter() - started
    rows = await database.fetch(
        "SELECT status, extract(epoch FROM coalesce(completed_at, failed_at) - created_at)::float8 AS took "
        "FROM transfers WHERE id = ANY($1::uuid[])",
        ids,
    )
    await database.close()
    completed = [row["took"] for row in rows if row["status"] == "COMPLETED"]
    print(
        json.dumps(
            {
                "sent": len(took),
                "responses": responses,
                "accepted_per_s": round(len(ids) / sent_for, 1),
                "completed_per_s": round(len(completed) / finished_after, 1),
                "completed": len(completed),
                "failed": len(rows) - len(completed),
                "accept_ms": percentiles(took),
                "complete_ms": percentiles(completed),
                "driver_cpu_us_per_transfer": round(cpu / max(1, len(took)) * 1e6, 1),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    uvloop.run(main())
