"""Every process exits on SIGTERM under load after finishing its work, and starts while its upstream is unavailable."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from uuid import UUID

import aiohttp
import pytest

from deploy.local import process
from deploy.local.roles import ROLES
from tests.chaos import timing
from tests.chaos.observation import Observation, exits_of
from tests.chaos.timing import TimedPerson
from tests.harness.api import ApiClient, Person, Response
from tests.harness.books import faults_when_quiet
from tests.harness.drills import FULL
from tests.harness.stack import Stack

ENDED_SECONDS_MAX = 30.0
CLIENTS = 6
PAUSE_SECONDS = 0.05
SHORT = ("gateway", "transaction", "wallet", "transaction-worker-1")
NAMES = tuple(role.name for role in ROLES) if FULL else SHORT


@pytest.fixture(scope="module")
async def users(api: ApiClient, operator: Person) -> list[TimedPerson]:
    return await timing.register_timed(api, operator, CLIENTS)


@pytest.mark.parametrize("name", NAMES)
async def test_sigterm_under_load(stack: Stack, users: list[TimedPerson], name: str) -> None:
    """Guarantee 61: on SIGTERM under load a process exits with 0 within 30 s; one retry resolves every error a client saw."""
    pid = stack["pids"][name]
    exits = exits_of(stack, name)
    observed = Observation(stack, name)
    clients = [
        asyncio.create_task(observed.run_client(person, users[number - 1])) for number, person in enumerate(users)
    ]
    async with asyncio.timeout(30):
        while len(observed.ids) < 2 * CLIENTS:
            await asyncio.sleep(0.02)
    began = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    async with asyncio.timeout(ENDED_SECONDS_MAX):
        while process.is_alive(pid):
            await asyncio.sleep(0.01)
    ended = time.monotonic()
    async with asyncio.timeout(30):
        while stack["pids"].get(name, pid) == pid:
            await asyncio.sleep(0.02)
    await stack.ready(name)
    back = time.monotonic()
    goal = len(observed.ids) + 2 * CLIENTS
    async with asyncio.timeout(30):
        while len(observed.ids) < goal:
            await asyncio.sleep(0.02)
    observed.over = True
    await asyncio.gather(*clients)
    saw = sorted(set(observed.failed))
    timing.report(
        f"61 {name}",
        ended_after_s=round(ended - began, 2),
        ready_again_after_s=round(back - began, 2),
        failed_first=len(observed.failed),
        saw=saw,
        failed_again=observed.failed_again,
        calls=len(timing.phase(users, began, back).calls),
    )
    # Unclean exits would be logged as "was ended by SIGKILL" or "exited with 1".
    assert [*exits, "exited with 0"] == exits_of(stack, name)
    assert [] == observed.failed_again
    if name.partition("-")[2] or name == "notification":
        assert [] == saw, "clients do not notice which process serves them"
    assert [] == await faults_when_quiet(stack, {UUID(id_) for id_ in observed.ids}, seconds=90)


async def test_a_gateway_started_without_auth(stack: Stack, users: list[TimedPerson]) -> None:
    """A gateway started while auth is unavailable returns 503 with `Retry-After`, and recovers by itself when auth is back."""
    person = users[0]
    await stack.take_down("auth")
    try:
        await stack.take_down("gateway")
        stack.bring_up("gateway")
        refused = await _first_answer(person)
    finally:
        stack.bring_up("gateway")
        stack.bring_up("auth")
    await stack.ready("auth")
    back = time.monotonic()
    async with asyncio.timeout(30):
        while (await person.get("/wallets")).status != 200:
            await asyncio.sleep(0.02)
    timing.report("gateway without auth", well_after_s=round(time.monotonic() - back, 2))
    await stack.ready("gateway")

    assert 503 == refused.status
    assert refused.headers["Retry-After"]


async def _first_answer(person: Person) -> Response:
    async with asyncio.timeout(60):
        while True:
            with suppress(aiohttp.ClientError):
                return await person.get("/wallets")
            await asyncio.sleep(0.05)
