"""One child process: in a session of its own, ended with its parent, and always together with its descendants.

A child is started through `setpriv --pdeathsig KILL` if the system has it, so that the kernel ends it when the supervisor is
killed. It is ended with its process group and with all descendants (PostgreSQL's backends have groups of their own).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import psutil

from deploy.local import files

POLL_SECONDS = 0.02
KILL_SECONDS_MAX = 10.0
STOP_SECONDS_MAX = 25.0  # a service takes up to 20 s to finish its requests and messages
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
DEAD_STATES = frozenset({psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD})
ENDED_WITH_PARENT = ["--pdeathsig", "KILL"]


class Child(Protocol):
    """A started process, as `subprocess.Popen` has it."""

    pid: int

    def poll(self) -> int | None:
        """The exit status once it has ended (negative: the signal); None before."""

    def wait(self, timeout: float) -> int:
        """Wait until it has ended; raises TimeoutExpired."""

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""


class Process:
    """A command that can be started repeatedly, one process at a time."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: Path,
        log: Path,
        launcher: Sequence[str] | None = None,
    ) -> None:
        """Describe the process; `launcher` replaces the prefix that ends it with its parent."""
        self.name = name
        self.log = log
        launcher = ended_with_parent() if launcher is None else launcher
        self.programs = frozenset(Path(word).name for word in (*launcher[:1], command[0]))
        """The programs that may be found running under its process id."""
        self._command = [*launcher, *command]
        self._environment = dict(environment)
        self._directory = directory
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs, else None."""
        return self._child.pid if self._child is not None and self.poll() is None else None

    def spawn(self) -> None:
        """Start it; output is appended to the log. It must not be running."""
        assert self.pid is None, f"{self.name} is running already"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab", opener=files.owner_only) as log:
            self._child = self._launch(log)

    def poll(self) -> int | None:
        """The exit status once it has ended (negative: the signal); None before."""
        return None if self._child is None else self._child.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process itself, if it runs."""
        if self._child is not None:
            self._child.send_signal(number)

    def kill(self) -> None:
        """Kill it and all its descendants, and wait for its end."""
        # After its end the id may belong to another process.
        if self._child is not None and self._child.poll() is None:
            kill_tree(self._child.pid)
            self._child.wait(KILL_SECONDS_MAX)

    async def stop(self, *, seconds_max: float = STOP_SECONDS_MAX, number: signal.Signals = signal.SIGTERM) -> bool:
        """Send a signal to end it, and kill it if it has not ended in time; whether it ended by itself."""
        self.send(number)
        self.send(signal.SIGCONT)  # a stopped process handles no other signal
        try:
            ended = await self.wait(seconds_max)
        finally:
            self.kill()
        return ended

    async def wait(self, seconds_max: float) -> bool:
        """Wait for its end; whether it ended in time."""
        deadline = time.monotonic() + seconds_max
        while self.pid is not None:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True

    def last_line(self) -> str:
        """The last line of its log that is not blank."""
        return last_line(self.log)

    def _launch(self, log: IO[bytes]) -> Child:
        return subprocess.Popen(
            self._command,
            cwd=self._directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=files.UMASK,
        )


def ended_with_parent() -> list[str]:
    """The prefix of a command that lets the kernel end it together with its parent."""
    setpriv = shutil.which("setpriv")
    return [setpriv, *ENDED_WITH_PARENT] if setpriv else []


def last_line(log: Path, *, characters_max: int = 300) -> str:
    """The last line of a log that is not blank, shortened."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][-characters_max:] if lines else ""


def identify(pid: int, programs: frozenset[str]) -> dict[str, Any] | None:
    """What distinguishes this process from a later one with the same id, as JSON; None if it is gone.

    An id may be reused after its process has ended or the machine has restarted, hence the start (in hundredths of a second
    since the boot), the boot, and the programs it may be running.
    """
    try:
        started = psutil.Process(pid).create_time() - psutil.boot_time()
    except psutil.Error:
        return None
    return {"pid": pid, "started": round(started * 100), "boot": _boot(), "programs": sorted(programs)}


def is_same(record: Mapping[str, Any]) -> bool:
    """Whether the process of a record made by `identify` still runs."""
    pid, programs = int(record["pid"]), frozenset(record["programs"])
    return identify(pid, programs) == dict(record) and is_alive(pid) and program(pid) in programs


def program(pid: int) -> str:
    """The name of the program that a process runs; empty if it is gone."""
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return ""


def is_alive(pid: int) -> bool:
    """Whether a process runs under this id; a zombie does not."""
    try:
        return psutil.Process(pid).status() not in DEAD_STATES
    except psutil.AccessDenied:
        return True
    except psutil.NoSuchProcess:
        return False


def kill_tree(pid: int) -> None:
    """Kill a process, the group that it leads, and every descendant, in whatever group each is."""
    below = descendants(pid)
    kill_group(pid)
    for child in below:
        with contextlib.suppress(psutil.Error):
            child.kill()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def kill_group(pid: int) -> None:
    """Kill the process group that `pid` leads or led."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def end_all(pids: Sequence[int]) -> None:
    """Kill these processes with all their descendants and wait until they are gone."""
    for pid in pids:
        kill_tree(pid)
    # Not psutil.wait_procs: it would take the exit status of a child from its Popen.
    deadline = time.monotonic() + KILL_SECONDS_MAX
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def descendants(pid: int) -> list[psutil.Process]:
    """Every process below this one, children before grandchildren."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def in_directory(directory: Path, *, programs: frozenset[str]) -> list[int]:
    """The processes of these programs whose working directory is `directory`, orphans included."""
    found = []
    for process in psutil.process_iter():
        # A process may have ended, or belong to another user.
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(directory) and process.name() in programs:
                found.append(process.pid)
    return found


def _boot() -> str:
    """The id of this boot, empty on a system without one. Unlike `psutil.boot_time()` it does not change with the clock."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""
