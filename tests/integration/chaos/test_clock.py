"""Jumps of the wall clock of a running process."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from deploy.local import install
from deploy.local.errors import LocalError
from deploy.local.ports import LOOPBACK, find_free
from services.chassis.client import Upstream
from services.chassis.service_tokens import Identity
from services.contracts.identifiers import new_id
from tests.chaos.clock import PACKAGE, Clock
from tests.harness.databases import TestDatabase
from tests.harness.services import identities

HOUR = 3600.0
NEAR = 30.0
"""By how many seconds a reading may be late on a busy machine; far less than a jump."""

TIME_PRINTER = """
import asyncio, sys, time
import asyncpg, cryptography, uvloop

async def print_time():
    for line in sys.stdin:
        began = time.monotonic()
        try:
            async with asyncio.timeout(0.05):
                await asyncio.Event().wait()
        except TimeoutError:
            print(time.time(), time.monotonic() - began, flush=True)

{run}(print_time())
"""


@pytest.fixture
async def clock(tmp_path: Path) -> Clock:
    try:
        await install.ensure(print, also=[PACKAGE])
    except LocalError as trouble:
        pytest.skip(str(trouble))
    return Clock(tmp_path / "clock")


async def spawn(*arguments: str, **variables: str) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env={"PATH": os.environ["PATH"], **variables}, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )


async def end(process: Process) -> int:
    """End it with SIGTERM; return its exit code."""
    if process.returncode is None:
        process.terminate()
    async with asyncio.timeout(30):
        await process.communicate()
    assert process.returncode is not None
    return process.returncode


@pytest.mark.parametrize("run", ["asyncio.run", "uvloop.run"])
async def test_a_process_jumps_and_comes_back(clock: Clock, run: str) -> None:
    """The time of day follows at once, in both directions; a timer takes its usual time, also during a jump."""
    process = await spawn("-c", TIME_PRINTER.format(run=run), **clock.environment())
    assert process.stdin is not None
    assert process.stdout is not None
    for seconds in (0.0, HOUR, -HOUR, 0.0, 86_400.5):
        clock.jump(seconds)
        process.stdin.write(b"\n")
        async with asyncio.timeout(30):
            shown, waited = map(float, (await process.stdout.readline()).split())

        assert abs(shown - (time.time() + seconds)) < NEAR, seconds
        assert 0.049 < waited < NEAR
    await end(process)


async def test_one_process_alone_jumps(clock: Clock) -> None:
    """The clock of this process is unaffected by another process's clock."""
    before = time.time()

    clock.jump(HOUR)

    assert abs(time.time() - before) < NEAR


async def test_without_the_library_a_clock_says_what_is_missing(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package there is no environment for a jump, and the error names the package."""
    monkeypatch.setattr(install, "LIBRARY_FOLDERS", ())

    with pytest.raises(FileNotFoundError, match=PACKAGE):
        clock.environment()


def seed(identity: Identity) -> str:
    return base64.b64encode(identity.key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())).decode()


@asynccontextmanager
async def api(
    name: str, made: TestDatabase, clock: Clock, keys: dict[str, Identity]
) -> AsyncIterator[tuple[Process, str]]:
    """The api of a service as a process with this clock, and its URL."""
    port = find_free()
    public = {name: base64.b64encode(k.key.public_key().public_bytes_raw()).decode() for name, k in keys.items()}
    process = await spawn(
        *("-m", f"services.{name}", "api"),
        **clock.environment(),
        **{f"PAYFLOW_{name.upper()}_PORT": str(port), f"PAYFLOW_{name.upper()}_DATABASE_URL": made.service_url},
        PAYFLOW_HOST=LOOPBACK,
        PAYFLOW_METRICS_PORT=str(find_free()),
        PAYFLOW_WALLET_PROOF_DATABASE_URL=made.proof_url,
        PAYFLOW_AUTH_SECRET="uXr6vL9wqT2bN8zE4hJ7kD3sM5pA1cGf",
        PAYFLOW_SERVICE_KEY=seed(keys[name]),
        PAYFLOW_SERVICE_PUBLIC_KEYS=json.dumps(public),
    )
    try:
        yield process, f"http://{LOOPBACK}:{port}"
    finally:
        await end(process)


async def ready(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                async with session.get(f"{url}/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)


async def void(upstream: Upstream) -> Any:
    item = {"transfer_id": str(new_id()), "reason": "cancelled", "request_hash": "ab" * 32}
    response = await upstream.call("POST", "/internal/void", body={"items": [item]}, seconds=20)
    return response["items"][0]["outcome"]


async def time_there(session: aiohttp.ClientSession, url: str, keys: dict[str, Identity]) -> float:
    """The time of a service, requested with a token that is valid at no plausible time."""
    claims = {"iss": "transaction", "aud": "wallet", "iat": 1, "exp": 61}
    token = jwt.encode(claims, keys["transaction"].key, algorithm="EdDSA", headers={"kid": "transaction"})
    headers = {"Authorization": f"Bearer {token}"}
    async with session.post(f"{url}/internal/void", json={"items": []}, headers=headers) as response:
        return float((await response.json())["now"])


async def test_a_service_jumps_and_comes_back(clock: Clock, wallet_database: TestDatabase) -> None:
    """Guarantee 39: the wallet's clock jumps by an hour either way while it runs; every call succeeds, and it exits cleanly."""
    keys = identities()
    async with (
        api("wallet", wallet_database, clock, keys) as (process, url),
        aiohttp.ClientSession() as session,
    ):
        await ready(session, url)
        upstream = Upstream("transaction", "wallet", url, keys["transaction"])
        for seconds in (0.0, HOUR, -HOUR, 0.0):
            clock.jump(seconds)

            assert "voided" == await void(upstream)
            assert abs(await time_there(session, url, keys) - (time.time() + seconds)) < NEAR
            await ready(session, url)
        await upstream.close()
        assert 0 == await end(process)


@pytest.mark.parametrize("seconds", [-HOUR, HOUR])
async def test_access_tokens_are_dated_by_the_database(
    clock: Clock, auth_database: TestDatabase, seconds: float
) -> None:
    """Guarantee 39: with its clock an hour off, auth issues tokens that are valid now, not at its clock's time."""
    keys = identities()
    clock.jump(seconds)
    async with (
        api("auth", auth_database, clock, keys) as (_, url),
        aiohttp.ClientSession() as session,
    ):
        await ready(session, url)
        upstream = Upstream("gateway", "auth", url, keys["gateway"])
        body = {"email": "alice@example.com", "password": "correct horse", "name": "Alice"}
        response = await upstream.call("POST", "/internal/register", body=body, seconds=20)
        await upstream.close()

    claims = jwt.decode(response["access_token"], options={"verify_signature": False})
    assert abs(time.time() - claims["iat"]) < NEAR
    assert claims["iat"] == claims["nbf"] == claims["exp"] - 600
