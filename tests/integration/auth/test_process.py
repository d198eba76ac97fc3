"""The service as a process: failed starts, jobs, and logs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from deploy.local.ports import find_free
from services.chassis.database import Pool
from tests.harness import preloaded
from tests.harness.databases import TestDatabase
from tests.integration.auth.service import PUBLIC_KEYS, SECRET, SEEDS, AuthService

NOWHERE = TestDatabase("auth", *["postgresql://payflow_auth:not-a-default-at-all@127.0.0.1:1/auth"] * 5)


def environment(made: TestDatabase = NOWHERE, **changes: str | None) -> dict[str, str]:
    """The variables of the api role; None removes a variable."""
    variables = {
        "PATH": os.environ["PATH"],
        "PAYFLOW_HOST": "127.0.0.1",
        "PAYFLOW_AUTH_PORT": str(find_free()),
        "PAYFLOW_METRICS_PORT": str(find_free()),
        "PAYFLOW_AUTH_DATABASE_URL": made.service_url,
        "PAYFLOW_AUTH_OWNER_DATABASE_URL": made.owner_url,
        "PAYFLOW_AUTH_SECRET": SECRET,
        "PAYFLOW_SERVICE_KEY": SEEDS["auth"],
        "PAYFLOW_SERVICE_PUBLIC_KEYS": json.dumps(PUBLIC_KEYS),
    }
    return {name: value for name, value in (variables | changes).items() if value is not None}


async def start(*arguments: str, variables: dict[str, str]) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.auth", *arguments, env=variables, stdout=PIPE, stderr=PIPE
    )


async def run(*arguments: str, variables: dict[str, str]) -> tuple[int | None, str, str]:
    """Run to the end; exit code, standard output and standard error."""
    return await preloaded.run_to_end("services.auth", *arguments, environment=variables)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PAYFLOW_AUTH_SECRET", None),
        ("PAYFLOW_AUTH_SECRET", "too-short"),
        ("PAYFLOW_AUTH_SECRET", "changeme-changeme-changeme-changeme-0123456789"),
        ("PAYFLOW_AUTH_DATABASE_URL", "postgresql://payflow_auth:postgres@127.0.0.1/auth"),
        ("PAYFLOW_SERVICE_KEY", None),
    ],
)
async def test_missing_short_or_default_secret_stops_the_start(name: str, value: str | None) -> None:
    """Guarantee 55: the api does not start; one line names the variable and never its value."""
    changes: dict[str, Any] = {name: value}
    status, output, errors = await run("api", variables=environment(**changes))

    assert status == 2
    assert output == ""
    assert len(errors.splitlines()) == 1
    assert name in errors
    assert value is None or value not in errors


async def test_grant_makes_an_operator(auth: AuthService, pool: Pool, auth_database: TestDatabase) -> None:
    """`grant EMAIL operator` prints one line without the address, exits 0, and is in the audit log."""
    body = await auth.register("alice@example.com")
    status, output, errors = await run("grant", "Alice@Example.com", "operator", variables=environment(auth_database))

    assert (status, errors) == (0, "")
    assert len(output.splitlines()) == 1
    assert body["user"]["id"] in output
    assert "operator" in output
    assert "example.com" not in output
    assert (await auth.log_in("alice@example.com")).body["user"]["role"] == "operator"
    assert await pool.fetchval("SELECT count(*) FROM audit_log WHERE action = 'role_granted'") == 1


async def test_grant_with_invalid_arguments(auth_database: TestDatabase) -> None:
    """An unknown address, an unknown role, or missing arguments: one line with the reason, non-zero."""
    for word, arguments in [
        ("registered", ["unknown@example.com", "operator"]),
        ("registered", ["no address", "operator"]),
        ("role", ["alice@example.com", "emperor"]),
        ("usage", ["alice@example.com"]),
    ]:
        status, output, errors = await run("grant", *arguments, variables=environment(auth_database))
        assert status not in (0, None)
        assert (output, len(errors.splitlines())) == ("", 1)
        assert word in errors


async def test_grant_with_the_database_unavailable() -> None:
    """One line and non-zero, no traceback."""
    status, _, errors = await run("grant", "a@example.com", "operator", variables=environment())

    assert status == 1
    assert len(errors.splitlines()) == 1


async def test_migrating_twice_is_harmless(auth_database: TestDatabase) -> None:
    """Two concurrent migrations and one after them: all succeed, nothing changes."""
    variables = environment(auth_database)
    results = await asyncio.gather(*(run("migrate", variables=variables) for _ in range(2)))

    assert [status for status, _, _ in results] == [0, 0]
    assert (await run("migrate", variables=variables))[0] == 0


@asynccontextmanager
async def serving(variables: dict[str, str]) -> AsyncIterator[tuple[Process, AuthService, list[str]]]:
    """The api role as a process, once it is alive; its log lines are complete after the block."""
    process = await start("api", variables=variables)
    lines: list[str] = []

    async def read(stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            lines.append(line.decode())

    assert process.stdout
    assert process.stderr
    readers = [asyncio.ensure_future(read(stream)) for stream in (process.stdout, process.stderr)]
    try:
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{variables['PAYFLOW_AUTH_PORT']}"
            service = AuthService(url, aiohttp.web.Application(), session)
            await until_available(session, f"{url}/internal/jwks")
            yield process, service, lines
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            await process.wait()
            await asyncio.gather(*readers)


async def until_available(session: aiohttp.ClientSession, url: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            async with session.get(url):
                return
        except aiohttp.ClientConnectorError:
            assert time.monotonic() < deadline, f"no response from {url}"
            await asyncio.sleep(0.05)


async def test_process_serves_logs_no_secret_and_ends_cleanly(auth_database: TestDatabase) -> None:
    """Guarantee 54: no password, token or complete address is in a log line, whatever is sent; SIGTERM ends with 0."""
    variables = environment(auth_database)
    async with serving(variables) as (process, auth, lines):
        body = await auth.register("alice@example.com", "a password to look for", "Alice")
        await auth.log_in("alice@example.com", "a wrong one to look for")
        refreshed = (await auth.refresh(body["refresh_token"])).body
        await auth.refresh(body["refresh_token"])
        await auth.call("POST", "/internal/recipients", {"emails": ["alice@example.com"]})
        await auth.log_in("alice@example.com\r\nforged: line")
        await auth.call("POST", "/internal/password/forgot", {"email": "alice@example.com"})
        claimed = await auth.call("POST", "/internal/emails/claim", {"limit": 9}, by="notification-deliver")
        emails = {email["kind"]: email["token"] for email in claimed.body["items"]}
        await auth.call("POST", "/internal/email/verify", {"token": emails["verify_email"]})
        reset = {"token": emails["reset_password"], "new_password": "another one to look for"}
        await auth.call("POST", "/internal/password/reset", reset)
        metrics = f"http://127.0.0.1:{variables['PAYFLOW_METRICS_PORT']}"
        ready = await AuthService(metrics, auth.application, auth._session).send("GET", "/readyz")
    output = "".join(lines)

    assert process.returncode == 0
    assert ready.body == {"ok": ["postgres", "schema"], "failing": []}
    for event in (
        "signing_key_created",
        "user_registered",
        "login_failed",
        "session_ended",
        "email_verified",
        "password_reset",
        "role_stopped",
    ):
        assert event in output
    for secret in (
        "to look for",
        "forged",
        "example.com",
        body["refresh_token"],
        refreshed["refresh_token"],
        body["access_token"],
        *emails.values(),
        SECRET,
        SEEDS["auth"],
        SEEDS["gateway"],
    ):
        assert secret not in output
    assert all(json.loads(line)["service"] == "auth" for line in lines)


async def test_process_is_alive_while_the_database_is_unavailable() -> None:
    """Without its database the service starts, is alive but not ready, and returns 503 with Retry-After."""
    variables = environment()
    async with serving(variables) as (process, auth, _):
        response = await auth.log_in("alice@example.com")
        metrics = AuthService(f"http://127.0.0.1:{variables['PAYFLOW_METRICS_PORT']}", auth.application, auth._session)
        alive, ready = await metrics.send("GET", "/livez"), await metrics.send("GET", "/readyz")

    assert (response.status, response.body["code"]) == (503, "database_unavailable")
    assert int(response.headers["Retry-After"]) >= 1
    assert [alive.status, ready.status] == [200, 503]
    assert process.returncode == 0


async def test_other_secret_stops_the_start(auth: AuthService, auth_database: TestDatabase) -> None:
    """A secret that cannot open the stored signing key fails the start, rather than the first login."""
    await auth.register("alice@example.com")
    status, _, errors = await run("api", variables=environment(auth_database, PAYFLOW_AUTH_SECRET=SECRET[::-1]))

    assert status == 1
    assert "PAYFLOW_AUTH_SECRET" in errors
    assert SECRET[::-1] not in errors
