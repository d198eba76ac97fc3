"""One child process: in a session of its own, gone when its parent is gone, ended as a whole.

A child is started through `setpriv --pdeathsig KILL` where the system has it, so that the kernel
ends it when the supervisor is killed. It is always ended by process group, together with
everything it had started (PostgreSQL's backends make groups of their own).
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
from typing import Any

from deploy.local import files

POLL_SECONDS = 0.02
KILL_SECONDS_MAX = 10.0
STOP_SECONDS_MAX = 25.0  # a service takes up to 20 s to finish what is under way
PROC = Path("/proc")
DEAD_STATES = frozenset("ZX")
DIES_WITH_PARENT = ["--pdeathsig", "KILL"]


class Process:
    """A command that can be started any number of times, one at a time."""

    def __init__(  # one argument per thing a process has
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: Path,
        log: Path,
        launcher: Sequence[str] | None = None,
    ) -> None:
        """Describe the process; `launcher` replaces the prefix that makes it die with its parent."""
        self.name = name
        self.log = log
        launcher = dying_with_parent() if launcher is None else launcher
        self.programs = frozenset(Path(word).name for word in (*launcher[:1], command[0]))
        """The programs that may be found running under its process id."""
        self._command = [*launcher, *command]
        self._environment = dict(environment)
        self._directory = directory
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs, else None."""
        return self._child.pid if self._child is not None and self.poll() is None else None

    def spawn(self) -> None:
        """Start it; output is appended to the log. It must not be running."""
        assert self.pid is None, f"{self.name} is running already"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab", opener=files.owner_only) as log:
            self._child = subprocess.Popen(
                self._command,
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=files.UMASK,
            )

    def poll(self) -> int | None:
        """The exit status once it has ended (negative: the signal); None before."""
        return None if self._child is None else self._child.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process itself, if it runs."""
        if self._child is not None:
            self._child.send_signal(number)

    def kill(self) -> None:
        """End it and all it started with SIGKILL, and wait until it is gone."""
        # Once it has been waited for, its number may be anybody's.
        if self._child is not None and self._child.poll() is None:
            kill_tree(self._child.pid)
            self._child.wait(KILL_SECONDS_MAX)

    async def stop(self, *, seconds_max: float = STOP_SECONDS_MAX, number: signal.Signals = signal.SIGTERM) -> bool:
        """Ask it to end, killing what has not ended in time; whether it ended by itself."""
        self.send(number)
        self.send(signal.SIGCONT)  # one that somebody froze hears nothing else
        try:
            ended = await self.wait(seconds_max)
        finally:
            self.kill()
        return ended

    async def wait(self, seconds_max: float) -> bool:
        """Wait until it has ended; whether it did in time."""
        deadline = time.monotonic() + seconds_max
        while self.pid is not None:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True

    def last_line(self) -> str:
        """The last line of its log that says something."""
        return last_line(self.log)


def dying_with_parent() -> list[str]:
    """The prefix of a command that makes the kernel end it together with its parent."""
    setpriv = shutil.which("setpriv")
    return [setpriv, *DIES_WITH_PARENT] if setpriv else []


def last_line(log: Path, *, characters_max: int = 300) -> str:
    """The last line of a log that says something, shortened."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][-characters_max:] if lines else ""


def identify(pid: int, programs: frozenset[str]) -> dict[str, Any] | None:
    """What tells this process from a later one with the same number, as JSON; None if it is gone.

    A number may be reused after its process has ended or the machine has restarted, hence the time of
    its start, the boot, and the programs it may be running.
    """
    fields = _status(pid)
    if fields is None:
        return None
    return {"pid": pid, "started": int(fields[19]), "boot": _boot(), "programs": sorted(programs)}


def is_same(record: Mapping[str, Any]) -> bool:
    """Whether the process of a record made by `identify` still runs."""
    pid, programs = int(record["pid"]), frozenset(record["programs"])
    return identify(pid, programs) == dict(record) and is_alive(pid) and program(pid) in programs


def program(pid: int) -> str:
    """The name of the program that a process runs; empty if it is gone."""
    try:
        return (PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    """Whether a process runs under this id; one that only waits to be reaped does not."""
    fields = _status(pid)
    if fields is not None:
        return fields[0] not in DEAD_STATES
    if PROC.joinpath("self").exists():
        return False
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def kill_tree(pid: int) -> None:
    """Kill the group of a process and every descendant, in whatever group it is."""
    offspring = descendants(pid)
    kill_group(pid)
    for child in offspring:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(child, signal.SIGKILL)


def kill_group(pid: int) -> None:
    """Kill the process group that `pid` leads or led."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def end_all(pids: Sequence[int]) -> None:
    """Kill these processes with all their descendants and wait until they are gone."""
    for pid in pids:
        kill_tree(pid)
    deadline = time.monotonic() + KILL_SECONDS_MAX
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def descendants(pid: int) -> list[int]:
    """Every process below this one, children before grandchildren."""
    children: dict[int, list[int]] = {}
    for other in all_pids():
        fields = _status(other)
        if fields is not None:
            children.setdefault(int(fields[1]), []).append(other)
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def in_directory(directory: Path, *, programs: frozenset[str]) -> list[int]:
    """The processes of these programs that work in `directory`: an engine's own, orphans included."""
    found = []
    for pid in all_pids():
        try:
            if (PROC / str(pid) / "cwd").readlink() != directory:
                continue
        except OSError:
            continue
        if program(pid) in programs:
            found.append(pid)
    return found


def all_pids() -> list[int]:
    """The ids of all processes that can be seen; none where there is no /proc."""
    try:
        return [int(entry) for entry in os.listdir(PROC) if entry.isdigit()]  # noqa: PTH208 - faster
    except OSError:
        return []


def _status(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name: state, parent, group, session, …"""  # noqa: D415
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _boot() -> str:
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
