"""Every process exits on SIGTERM under load after finishing its work, and starts while its upstream is unavailable."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import aiohttp
import pytest

from deploy.local import process
from deploy.local.roles import ROLES
from tests.chaos import timing
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


@dataclass(slots=True)
class Observation:
    """What the clients of an exiting process see."""

    stack: Stack
    name: str
    failed: list[str] = field(default_factory=list)
    failed_again: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    over: bool = False

    async def run_client(self, person: TimedPerson, other: TimedPerson) -> None:
        """Pay and read in turn; send a failed request once more when the process is back."""
        while not self.over:
            key = uuid4().hex
            body = {"amount": 1, "currency": "USD", "to": {"wallet_id": other.wallet_id}}
            paid = await self._send_with_retry(
                person, "POST", "/transfers", json=body, headers={"Idempotency-Key": key}
            )
            if paid is not None and paid.status == 202:
                self.ids.add(paid.body["id"])
            await self._send_with_retry(person, "GET", f"/wallets/{person.wallet_id}/balance")
            await self._send_with_retry(person, "GET", "/transfers?limit=5")
            await asyncio.sleep(PAUSE_SECONDS)

    async def _send_with_retry(self, person: TimedPerson, method: str, path: str, **request: object) -> Response | None:
        first = await self._try(person, method, path, **request)
        if not isinstance(first, str):
            return first
        self.failed.append(first)
        await self.stack.ready(self.name)
        again = await self._try(person, method, path, **request)
        if isinstance(again, str):
            self.failed_again.append(again)
            return None
        return again

    async def _try(self, person: TimedPerson, method: str, path: str, **request: object) -> Response | str:
        headers = {"Authorization": f"Bearer {person.token}"} | dict(request.pop("headers", {}))  # type: ignore[call-overload]
        try:
            response = await person.send(method, path, headers=headers, **request)
        except (aiohttp.ClientError, TimeoutError) as error:
            return f"{method} {path.partition('?')[0].split('/')[1]}: {type(error).__name__}"
        if response.status >= 500:
            return f"{method} {path.partition('?')[0].split('/')[1]}: {response.status} {response.code}"
        return response


@pytest.mark.parametrize("name", NAMES)
async def test_sigterm_under_load(stack: Stack, users: list[TimedPerson], name: str) -> None:
    """Guarantee 61: on SIGTERM under load a process exits with 0 within 30 s; one retry resolves every error a client saw."""
    pid = stack["pids"][name]
    exits = _exits(stack, name)
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
    assert [*exits, "exited with 0"] == _exits(stack, name)
    assert [] == observed.failed_again
    if name.partition("-")[2] or name == "notification":
        assert [] == saw, "clients do not notice which process serves them"
    assert [] == await faults_when_quiet(stack, {UUID(id_) for id_ in observed.ids}, seconds=90)


def _exits(stack: Stack, name: str) -> list[str]:
    """The exits of this process, in the words of the supervisor's log."""
    return re.findall(
        rf"^{name} ((?:exited with|was ended by) \S+?),", (stack.home / "run.log").read_text(), re.MULTILINE
    )


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
