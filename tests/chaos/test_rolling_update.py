"""An update of every role under load, from the code before the newest migration to this code, and back."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest

from deploy.local import process
from deploy.local.home import REPOSITORY
from deploy.local.roles import ROLES
from services.chassis import revisions
from tests.chaos import timing
from tests.chaos.observation import Observation, exits_of
from tests.harness import old_code
from tests.harness.api import ApiClient
from tests.harness.books import faults_when_quiet
from tests.harness.databases import DataFolder
from tests.harness.stack import Stack, running

CLIENTS = 6
ENDED_SECONDS_MAX = 30.0
TRANSFERS_BETWEEN = 12


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The code before the newest migration; without the history of git the drill is skipped, which is not a pass."""
    commit = old_code.find_commit()
    if commit is None:
        pytest.skip("NOT RUN: the code before the newest migration is in the history of git, which is not here")
    folder = tmp_path / "old"
    old_code.unpack(commit, folder)
    for role in ROLES:
        (folder / "running" / role.name).touch()
    return folder


@asynccontextmanager
async def observed(stack: Stack, users: list[timing.TimedPerson]) -> AsyncIterator[Observation]:
    """Clients that pay and read during the block."""
    observation = Observation(stack, "gateway")
    clients = [
        asyncio.create_task(observation.run_client(person, users[number - 1])) for number, person in enumerate(users)
    ]
    yield observation
    observation.over = True
    await asyncio.gather(*clients)


async def replace(stack: Stack, observation: Observation, name: str) -> float:
    """End a process and wait until its successor is ready and transfers go on; how long its end took."""
    pid, observation.name = stack["pids"][name], name
    began = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    async with asyncio.timeout(ENDED_SECONDS_MAX):
        while process.is_alive(pid):
            await asyncio.sleep(0.01)
    ended = time.monotonic() - began
    async with asyncio.timeout(60):
        while stack["pids"].get(name, pid) == pid:
            await asyncio.sleep(0.02)
    await stack.ready(name)
    goal = len(observation.ids) + TRANSFERS_BETWEEN
    async with asyncio.timeout(60):
        while len(observation.ids) < goal:
            await asyncio.sleep(0.02)
    return ended


def folders(stack: Stack) -> set[Path]:
    """Where the code of the running roles is."""
    return {Path(f"/proc/{stack['pids'][role.name]}/cwd").readlink() for role in ROLES}


@pytest.mark.full_drill
@pytest.mark.timeout(1800)
async def test_rolling_update_and_back(
    old: Path, tmp_path_factory: pytest.TempPathFactory, data_folder: DataFolder
) -> None:
    """Guarantees 61 and 62: under load every role is replaced by the new code, then by the old: one retry resolves all errors.

    The schema is the new one throughout. Nothing is lost, and the books agree.
    """
    home = tmp_path_factory.mktemp("stack")
    settings = {old_code.VARIABLE: str(old)}
    async with (
        running(home, settings, data=data_folder, command=old_code.COMMAND) as stack,
        aiohttp.ClientSession() as session,
    ):
        api = ApiClient(session, stack["gateway"])
        operator = await api.login("ops@example.com", "payflow-demo-1")
        users = await timing.register_timed(api, operator, CLIENTS)
        code = [folders(stack)]
        seconds: list[float] = []
        async with observed(stack, users) as observation:
            for is_old in (False, True):
                for role in ROLES:
                    mark = old / "running" / role.name
                    mark.touch() if is_old else mark.unlink()
                    seconds.append(await replace(stack, observation, role.name))
                code.append(folders(stack))
        timing.report(
            "61, 62 rolling update and back",
            commit=old_code.find_commit(),
            revisions={service: revisions.newest(service) for service in stack["databases"]},
            longest_end_s=round(max(seconds), 2),
            accepted=len(observation.ids),
            failed_first=len(observation.failed),
            saw=sorted(set(observation.failed)),
            failed_again=observation.failed_again,
            calls=len(users[0].calls),
        )
        found = await faults_when_quiet(stack, {UUID(id_) for id_ in observation.ids}, seconds=120)
        exits = {role.name: exits_of(stack, role.name) for role in ROLES}

    assert [{old}, {REPOSITORY}, {old}] == code
    assert [] == observation.failed_again
    assert [] == found
    assert dict.fromkeys(exits, ["exited with 0"] * 2) == exits
