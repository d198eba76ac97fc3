"""`python -m tests.harness.old_code`: `make run` whose roles run the code of an earlier commit while a file says so.

The folder `PAYFLOW_OLD_CODE` holds that code. While it has a file `running/NAME`, the role NAME is started from it.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from deploy.local import __main__ as entry
from deploy.local import commands
from deploy.local.home import REPOSITORY, Home
from deploy.local.payflow import PayFlow
from deploy.local.process import Child, Process
from deploy.local.roles import Wiring

VARIABLE = "PAYFLOW_OLD_CODE"
COMMAND = [sys.executable, "-m", "tests.harness.old_code"]
MIGRATIONS = ":(glob)services/*/sql/migrations/*.sql"


def find_commit() -> str | None:
    """The commit before the newest migration: the code that has to run on the schema of today; None without the history."""
    added = _git("log", "-1", "--diff-filter=A", "--format=%H", "--", MIGRATIONS)
    return _git("rev-parse", "--verify", "--quiet", f"{added}^") if added else None


def unpack(commit: str, folder: Path) -> None:
    """Write the services as they were at a commit."""
    packed = subprocess.run(["git", "archive", commit, "services"], cwd=REPOSITORY, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    (folder / "running").mkdir()


def _git(*arguments: str) -> str | None:
    done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


class EitherProcess(Process):
    """A role of the old or the new code, decided at each start."""

    def __init__(self, name: str, command: Sequence[str], *, environment: dict[str, str], log: Path) -> None:
        super().__init__(name, command, environment=environment, directory=REPOSITORY, log=log)
        self._old_code = Path(os.environ[VARIABLE])

    def _launch(self, log: IO[bytes]) -> Child:
        is_old = (self._old_code / "running" / self.name).exists()
        self._directory = self._old_code if is_old else REPOSITORY
        return super()._launch(log)


class EitherWiring(Wiring):
    """The ordinary wiring of such processes."""

    def _python(self, name: str, arguments: list[str], variables: dict[str, str]) -> Process:
        return EitherProcess(name, [sys.executable, *arguments], environment=variables, log=self._home.log(name))


async def run(home: Home) -> None:
    """Start the stack and keep it up until it is stopped."""
    async with commands.running(home, PayFlow(home, os.environ, wiring=EitherWiring)) as (_, watching):
        await watching


if __name__ == "__main__":
    commands.run = run
    sys.exit(entry.main(["run"]))
