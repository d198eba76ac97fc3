"""A program that is started as a fork is as if its command had been run."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from deploy.local import process
from deploy.local.home import REPOSITORY
from deploy.local.process import Process
from tests.harness import drills, preloaded
from tests.harness.preloaded import PreloadedProcess

DESCRIPTION = "tests.integration.local.self_description"
SECONDS_MAX = 60
ENVIRONMENT = {"PATH": os.environ["PATH"], "TZ": "Asia/Tokyo", "LC_ALL": "C.UTF-8", "PAYFLOW_EXAMPLE": "ü"}


def command(log: Path, module: str, *arguments: str, environment: Mapping[str, str] = ENVIRONMENT) -> Process:
    words = [sys.executable, "-m", module, *arguments]
    return Process("example", words, environment=environment, directory=REPOSITORY, log=log)


def fork(log: Path, module: str, *arguments: str, environment: Mapping[str, str] = ENVIRONMENT) -> Process:
    return PreloadedProcess("example", module, *arguments, environment=environment, log=log)


async def described(started: Process) -> tuple[int | None, dict[str, Any]]:
    """The exit status of the description, and what it says; its log is named by its folder alone."""
    started.spawn()
    assert await started.wait(SECONDS_MAX)
    said = json.loads(started.log.read_text())
    said["files"] = {number: name.replace(str(started.log.parent), "") for number, name in said["files"].items()}
    return started.poll(), said


async def test_a_fork_finds_what_a_command_finds(tmp_path: Path) -> None:
    """Environment, folder, open files, umask, signals, session and parent are the same, and so is the exit status."""
    forked = await described(fork(tmp_path / "forked" / "log", DESCRIPTION, "3", "a b"))
    started = await described(command(tmp_path / "started" / "log", DESCRIPTION, "3", "a b"))

    assert (3, os.getpid(), signal.SIGKILL) == (forked[0], forked[1]["parent"], forked[1]["death signal"])
    assert started == forked


async def test_forks_do_not_share_what_they_change(tmp_path: Path) -> None:
    """The second fork has its own environment, also after the first changed its."""
    await described(fork(tmp_path / "1", DESCRIPTION, "0"))
    _, said = await described(fork(tmp_path / "2", DESCRIPTION, "0", environment={"TZ": "UTC"}))

    assert {"TZ": "UTC"} == said["environment"]
    assert ["UTC", "UTC"] == said["time zone"]


async def test_a_killed_fork_has_the_status_of_its_signal(tmp_path: Path) -> None:
    """The parent learns of the signal that ended it, and nothing of it is left."""
    started = fork(tmp_path / "log", "http.server", "0", "--bind", "127.0.0.1")
    started.spawn()
    pid = started.pid
    assert pid is not None
    assert started.poll() is None
    started.kill()

    assert -signal.SIGKILL == started.poll()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_fork_dies_with_the_process_that_requested_it(tmp_path: Path) -> None:
    """Also when that is killed: the kernel ends it."""
    parent = tmp_path / "parent.py"
    parent.write_text(
        textwrap.dedent(f"""
            import time
            from pathlib import Path
            from tests.harness.preloaded import PreloadedProcess
            forked = PreloadedProcess("x", "http.server", "0", environment={{}}, log=Path({str(tmp_path / "log")!r}))
            forked.spawn()
            print(forked.pid, flush=True)
            time.sleep({SECONDS_MAX})
        """)
    )
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        parent,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert started.stdout is not None
    pid = int(await started.stdout.readline())
    assert process.is_alive(pid)
    started.kill()
    await started.wait()

    async with asyncio.timeout(SECONDS_MAX):
        while process.is_alive(pid):
            await asyncio.sleep(0.01)


async def test_what_needs_a_library_loaded_is_started_by_its_command(tmp_path: Path) -> None:
    """A fork has no loader that would load it: here one that names a library that is missing says so."""
    variables = ENVIRONMENT | {"LD_PRELOAD": "missing.so"}
    started = fork(tmp_path / "log", DESCRIPTION, "0", environment=variables)
    started.spawn()
    assert await started.wait(SECONDS_MAX)

    assert "missing.so" in started.log.read_text().splitlines()[0]


@pytest.mark.parametrize(("variables", "allowed"), [({}, not drills.FULL), ({"COVERAGE_RUN": "1"}, False)])
def test_what_is_measured_is_not_forked(variables: dict[str, str], *, allowed: bool) -> None:
    """Coverage is measured from the start of a process."""
    assert allowed is preloaded.is_allowed(variables)
