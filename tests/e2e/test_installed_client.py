"""The client and the command line as a user installs them: the wheel in an otherwise empty environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local import bootstrap
from tests.harness.api import PASSWORD, Person
from tests.harness.stack import Stack

ROOT = bootstrap.REPOSITORY
UV = bootstrap.ENVIRONMENT / "bin" / "uv"
SERVER_MODULES = ("services", "deploy", "alembic", "sqlalchemy", "asyncpg", "aio_pika", "redis", "pydantic")
PAY = """
import asyncio, importlib.util, json, sys
from payflow import PayFlow

async def pay(gateway, email, password, wallet_id):
    async with PayFlow(gateway, email=email, password=password) as payflow:
        transfer = await payflow.send(amount=250, currency="USD", to_wallet_id=wallet_id, wait_seconds=30)
        return {"status": transfer.status, "id": transfer.id, "balance": (await payflow.balance()).balance}

print(json.dumps(asyncio.run(pay(*sys.argv[1:]))))
"""


def build(project: Path, folder: Path) -> Path:
    """The wheel of a project, built with the locked build tool."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment with the client's wheel, and a working folder outside the repository."""

    environment: Path
    folder: Path

    def run(self, program: str, *arguments: str, **variables: str) -> str:
        """Run a program of the environment without the caller's variables; return its standard output."""
        result = subprocess.run(
            [str(self.environment / "bin" / program), *arguments],
            cwd=self.folder,
            env={"HOME": str(self.folder), "PATH": os.defpath, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert 0 == result.returncode, result.stderr
        return result.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The locked dependencies of the client, then its wheel, installed without network access.

    The dependencies come from uv's cache, filled by the installation of `.venv`, or are downloaded as locked.
    """
    folder = tmp_path_factory.mktemp("client")
    environment = folder / "environment"
    variables = bootstrap.uv_environment(environment)
    sync = [str(UV), "sync", "--frozen", "--no-dev", "--no-install-project", "--quiet"]
    subprocess.run(sync, cwd=ROOT, env=variables, check=True)
    wheel = build(ROOT, folder / "dist")
    install = [str(UV), "pip", "install", "--offline", "--python", str(environment / "bin" / "python"), str(wheel)]
    subprocess.run(install, cwd=folder, env=variables, check=True, capture_output=True)
    return Installed(environment, folder)


async def test_the_command_line_runs_from_the_wheel(installed: Installed) -> None:
    """`payflow --help` works with the client's own dependencies, and no server module is installed."""
    shown = installed.run("payflow", "--help")
    find = f"import importlib.util as u; print([m for m in {SERVER_MODULES} if u.find_spec(m)])"

    assert all(f"  {command} " in shown for command in ("login", "trace", "dead-letters", "ledger")), shown
    assert "[]" == installed.run("python", "-c", find).strip()


async def test_a_payment_from_the_wheel(installed: Installed, stack: Stack, alice: Person, bob: Person) -> None:
    """The installed client pays over HTTP, and the installed command line logs in and traces the transfer."""
    paid = json.loads(installed.run("python", "-c", PAY, stack["gateway"], alice.email, PASSWORD, bob.wallet_id))
    variables = {"PAYFLOW_GATEWAY": stack["gateway"], "PAYFLOW_PASSWORD": PASSWORD}
    installed.run("payflow", "login", alice.email, **variables)
    traced = installed.run("payflow", "trace", paid["id"], **variables)

    assert ("COMPLETED", 99_750, 250) == (paid["status"], paid["balance"], await bob.balance())
    assert all(step in traced for step in ("accepted", "posted", "completed")), traced


def test_the_wheel_of_the_servers_is_whole(tmp_path: Path) -> None:
    """The wheel contains every file of the services, SQL included, and nothing else."""
    wheel = build(ROOT / "services", tmp_path)
    listed = subprocess.run(["git", "ls-files", "services"], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = set(listed.stdout.split()) - {"services/pyproject.toml"}
    with zipfile.ZipFile(wheel) as opened:
        packed = {name for name in opened.namelist() if ".dist-info/" not in name}

    assert tracked == packed
