"""The health check of a container."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from services.chassis import healthcheck
from services.chassis.health import Health, metrics_application
from services.chassis.settings import RoleSettings


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """The metrics port of a process that is alive and not ready."""
    health = Health()
    health.draining = True
    runner = web.AppRunner(metrics_application(health))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def run(port: str) -> tuple[int | None, str]:
    """The exit status and the output of the command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "importtime", "-m", "services.chassis.healthcheck"),
        env=os.environ | {"PAYFLOW_METRICS_PORT": port},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, imports = await process.communicate()
    assert b"pydantic" not in imports
    return process.returncode, output.decode()


async def test_a_live_role_is_healthy(port: int) -> None:
    """Exit code 0 while the process responds, also when it is not ready: a restart would not help. No package is imported."""
    assert (0, "alive\n") == await run(str(port))


async def test_a_closed_port_is_unhealthy(port: int) -> None:
    """Exit code 1 and one line if nothing listens."""
    assert port
    status, output = await run("1")

    assert 1 == status
    assert output == "not alive: [Errno 111] Connection refused\n"


async def test_a_hanging_role_is_unhealthy() -> None:
    """The kernel accepts the connection, and the process never responds."""
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        failure = await asyncio.to_thread(healthcheck.check, str(hanging.getsockname()[1]), seconds=0.05)

    assert failure == "timed out"


@pytest.mark.parametrize("text", ["many", "65536", "-1"])
def test_what_is_no_port_is_unhealthy(text: str) -> None:
    """One line, and no traceback."""
    assert healthcheck.check(text)


def test_the_default_port_is_that_of_the_settings() -> None:
    """Without the variable, role and check agree on the port."""
    assert RoleSettings.model_fields["metrics_port"].default == int(healthcheck.METRICS_PORT)
