"""`python -m tests.harness.preloaded`: `make run`, its roles and jobs forks of one process that has imported all services."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from deploy.local import __main__ as entry
from deploy.local import commands
from deploy.local.home import REPOSITORY, Home
from deploy.local.payflow import PayFlow
from deploy.local.process import Child, Process
from deploy.local.roles import Wiring
from tests.harness import drills, fork_server

FORKED = [sys.executable, "-m", "tests.harness.preloaded"]
BY_COMMANDS = [sys.executable, "-m", "deploy.local", "run"]
"""The whole system in the foreground, its roles started in either way."""

RUN_SECONDS_MAX = 90.0
POLL_SECONDS = 0.01

MEASURED = "COVERAGE_"
"""How the variables begin by which coverage is measured in each process from its start."""


def is_allowed(environment: Mapping[str, str]) -> bool:
    """Whether this run may fork roles: drills in full start each role by its command, and so does what is measured."""
    return not drills.FULL and not any(name.startswith(MEASURED) for name in environment)


class PreloadedProcess(Process):
    """`python -m MODULE ARGUMENTS`, started as a fork."""

    def __init__(self, name: str, module: str, *arguments: str, environment: Mapping[str, str], log: Path) -> None:
        command = [sys.executable, "-m", module, *arguments]
        super().__init__(name, command, environment=environment, directory=REPOSITORY, log=log)
        self._module = module
        self._arguments = arguments

    def _launch(self, log: IO[bytes]) -> Child:
        """Start the fork; a library to be loaded into it needs a new program."""
        if "LD_PRELOAD" in self._environment:
            return super()._launch(log)
        return fork_server.shared().spawn(self._module, *self._arguments, environment=self._environment, output=log)


def program(name: str, module: str, *arguments: str, environment: Mapping[str, str], log: Path) -> Process:
    """`python -m MODULE ARGUMENTS`: a fork where that is allowed, else the command."""
    if is_allowed(os.environ):
        return PreloadedProcess(name, module, *arguments, environment=environment, log=log)
    command = [sys.executable, "-m", module, *arguments]
    return Process(name, command, environment=environment, directory=REPOSITORY, log=log)


async def run_to_end(
    module: str, *arguments: str, environment: Mapping[str, str], seconds_max: float = RUN_SECONDS_MAX
) -> tuple[int | None, str, str]:
    """Run `python -m MODULE ARGUMENTS` as `program` does: its exit status, its output and its errors."""
    with TemporaryFile() as output, TemporaryFile() as errors:
        child = _start([module, *arguments], environment, output, errors)
        try:
            async with asyncio.timeout(seconds_max):
                while child.poll() is None:
                    await asyncio.sleep(POLL_SECONDS)
        finally:
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
                child.wait(seconds_max)
        written = [file.read().decode() for file in (output, errors) if file.seek(0) == 0]
        return child.poll(), written[0], written[1]


def _start(words: Sequence[str], environment: Mapping[str, str], output: IO[bytes], errors: IO[bytes]) -> Child:
    if is_allowed(os.environ):
        return fork_server.shared().spawn(*words, environment=environment, output=output, errors=errors)
    command = [sys.executable, "-m", *words]
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=output, stderr=errors)


class PreloadedWiring(Wiring):
    """The ordinary wiring of processes that are forks where that is allowed."""

    def _python(self, name: str, arguments: list[str], variables: dict[str, str]) -> Process:
        assert "-m" == arguments[0]
        return program(name, *arguments[1:], environment=variables, log=self._home.log(name))


async def run(home: Home) -> None:
    """Start the stack and keep it up until it is stopped."""
    async with commands.running(home, PayFlow(home, os.environ, wiring=PreloadedWiring)) as (_, watching):
        await watching


if __name__ == "__main__":
    fork_server.import_everything()
    fork_server.fork_shared()
    commands.run = run
    sys.exit(entry.main(["run"]))
