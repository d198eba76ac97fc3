from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from deploy.local import files, process, seed
from deploy.local.home import REPOSITORY, Home
from deploy.local.ports import find_free
from deploy.local.roles import CANARY, ROLES, SERVICES
from deploy.local.user import User, http_session
from services.chassis import revisions
from tests.harness import leaks, preloaded
from tests.harness.environments import HOSTILE

KEYS = {
    "gateway",
    "services",
    "databases",
    "monitoring_database",
    "rabbitmq",
    "rabbitmq_management",
    "redis",
    "metrics",
    "pids",
}
ENGINES = {"postgres", "rabbitmq", "redis"}


def start(
    home: Home, environment: dict[str, str], command: Sequence[str] = preloaded.BY_COMMANDS
) -> subprocess.Popen[bytes]:
    """Run PayFlow in the foreground of another process, and wait for its stack.json."""
    home.path.mkdir(exist_ok=True)
    with (home.path / "run.log").open("ab") as log:
        run = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log)
    begun = time.time()
    while not home.stack.exists() or home.stack.stat().st_mtime < begun:
        assert run.poll() is None, (home.path / "run.log").read_text()
        assert time.time() < begun + 500
        time.sleep(0.05)
    return run


def show_demo(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`make demo` beside the running stack."""
    command = [sys.executable, "-m", "deploy.local", "demo"]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


def read(home: Home) -> dict[str, Any]:
    stack = files.read_object(home.stack)
    assert stack is not None
    return stack


async def balances(gateway: str) -> dict[str, int]:
    async with http_session() as session:
        users = [User(session, gateway, email, seed.PASSWORD) for email in (seed.ALICE, seed.BOB)]
        for user in users:
            await user.log_in()
        return {user.email: (await user.wallet(seed.CURRENCY))["balance"] for user in users}


@pytest.mark.timeout(1200)
async def test_the_demo_and_its_money_survive_a_kill_of_everything(tmp_path: Path) -> None:
    """The stack starts from an empty folder, writes stack.json, runs the demo, and loses nothing when all of it is killed.

    The shell that it is started from also has the variables of HOSTILE: all of this works as without them. Its logs, that of the
    canary too, hold no secret and no e-mail address.
    """
    home = Home(tmp_path / "home")
    own = {"PAYFLOW_HOME": str(home.path), "PAYFLOW_GATEWAY_PORT": str(find_free())}
    environment = os.environ | HOSTILE | own
    run = start(home, environment)
    try:
        stack = read(home)
        names = {role.name for role in (*ROLES, CANARY)}
        assert set(stack) == KEYS
        assert set(stack["services"]) == set(stack["databases"]) == set(SERVICES)
        assert set(stack["metrics"]) == names
        assert set(stack["pids"]) == names | ENGINES
        assert await balances(stack["gateway"]) == {seed.ALICE: 100_000, seed.BOB: 100_000}

        shown = show_demo(environment)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert "exactly once" in shown.stdout

        run.kill()
        run.wait()
        process.end_all(list(stack["pids"].values()))
        # The first start was by commands; this one is about the data.
        run = start(
            home, os.environ | own, preloaded.FORKED if preloaded.is_allowed(os.environ) else preloaded.BY_COMMANDS
        )

        again = read(home)
        assert again["databases"] == stack["databases"], "the same addresses and passwords"
        assert await balances(again["gateway"]) == {seed.ALICE: 98_750, seed.BOB: 101_250}
    finally:
        run.send_signal(signal.SIGTERM)
        assert run.wait(120) == 0
    assert not home.stack.exists()
    assert not any(process.is_alive(pid) for pid in again["pids"].values())
    assert (home.logs / "canary.log").stat().st_size > 0
    assert [] == leaks.search(home.logs, leaks.secrets_of(home.path) | {seed.PASSWORD}), "see the lines named"


@pytest.mark.parametrize("service", SERVICES)
def test_the_newest_revision_is_known_to_alembic(service: str) -> None:
    """The number of the newest migration file is the revision that it sets."""
    newest = revisions.newest(service)
    text = (REPOSITORY / "services" / service / "sql" / "migrations" / f"{newest}.py").read_text()

    assert f'revision = "{newest}"' in text
