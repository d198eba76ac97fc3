"""`make run` in another process, and what it leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.local import files
from deploy.local.home import REPOSITORY, Home
from deploy.local.ports import find_free
from tests.harness import preloaded

START_SECONDS_MAX = 500


class Run:
    """One run of the whole of PayFlow below `home`; its output is in `home`.log."""

    def __init__(self, home: Path, environment: Mapping[str, str], *, umask: int = -1, forked: bool = False) -> None:
        """Start it; `forked`: its roles as forks of one process, where that is allowed, instead of by their commands."""
        self.home = Home(home)
        self.environment = {"PAYFLOW_GATEWAY_PORT": str(find_free()), **environment, "PAYFLOW_HOME": str(home)}
        self.log = Path(f"{home}.log")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                preloaded.FORKED if forked and preloaded.is_allowed(environment) else preloaded.BY_COMMANDS,
                cwd=REPOSITORY,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                umask=umask,
            )

    def wait_ready(self) -> dict[str, Any]:
        """Wait for the stack.json that this run writes; its content."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while (stack := files.read_object(self.home.stack)) is None or not self._is_ours(stack):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        return stack

    def demo(self) -> subprocess.CompletedProcess[str]:
        """`make demo` beside it."""
        command = [sys.executable, "-m", "deploy.local", "demo"]
        return subprocess.run(
            command, cwd=REPOSITORY, env=self.environment, capture_output=True, text=True, check=False
        )

    def _is_ours(self, stack: Mapping[str, Any]) -> bool:
        try:
            status = Path(f"/proc/{stack['pids']['gateway']}/stat").read_text()
        except (OSError, KeyError):
            return False
        return int(status.rpartition(")")[2].split()[1]) == self.process.pid

    def stop(self) -> int:
        """Stop it as Ctrl-C does; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


@contextmanager
def running(home: Path, environment: Mapping[str, str], *, umask: int = -1, forked: bool = False) -> Iterator[Run]:
    """A run that is ready, stopped at the end of the block."""
    run = Run(home, environment, umask=umask, forked=forked)
    try:
        run.wait_ready()
        yield run
    finally:
        code = run.stop()
    assert code == 0, run.log.read_text()
