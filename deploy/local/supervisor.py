"""Keeps every process up, except those that are kept down.

A process that ends is restarted within two seconds; one that keeps ending, every ten.
While the folder `down` has a file with its name, it is kept down, and killed if it runs.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from deploy.local import files

CHECK_SECONDS = 0.1
RESTART_SECONDS = 0.1
RESTART_SECONDS_UNSTEADY = 1.0
RESTART_SECONDS_FAILING = 10.0
EXITS_UNSTEADY = 3
EXITS_FAILING = 10
EXITS_WINDOW_SECONDS = 60.0
LOG_CHECK_SECONDS = 10.0
LOG_BYTES_MAX = 50_000_000


class Unit(Protocol):
    """An engine or a process that can be supervised."""

    log: Path

    @property
    def name(self) -> str:
        """Its NAME in stack.json and in the folder `down`."""

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""

    @property
    def programs(self) -> frozenset[str]:
        """The programs that may be found under that id."""

    def spawn(self) -> None:
        """Start it without waiting."""

    def poll(self) -> int | None:
        """Its exit status if it has ended, else None."""

    def kill(self) -> None:
        """End it at once."""


@dataclass(slots=True)
class _Watched:
    unit: Unit
    down: bool = False
    kept_down: bool = False
    start_at: float = 0.0
    exits: deque[float] = field(default_factory=lambda: deque(maxlen=EXITS_FAILING + 1))


class Supervisor:
    """Keeps units up until it is cancelled."""

    def __init__(
        self,
        units: Sequence[Unit],
        *,
        down_folder: Path,
        changed: Callable[[], None],
        report: Callable[[str], None],
    ) -> None:
        """Supervise `units`; `changed` is called after each start and end, `report` with messages for the user."""
        self._watched = [_Watched(unit) for unit in units]
        self._down_folder = down_folder
        self._changed = changed
        self._report = report

    async def watch(self) -> None:
        """Supervise until cancelled."""
        logs_at = 0.0
        while True:
            self.check()
            if time.monotonic() >= logs_at:
                shorten_logs([watched.unit.log for watched in self._watched])
                logs_at = time.monotonic() + LOG_CHECK_SECONDS
            await asyncio.sleep(CHECK_SECONDS)

    def check(self) -> None:
        """Take the next step for every unit: record an exit, start it, or kill it."""
        # A list, not any(...) over a generator, which would skip the units after the first change.
        changes = [self._check(watched) for watched in self._watched]
        if any(changes):
            try:
                self._changed()
            except OSError as error:  # a full disk must not end the supervisor
                self._report(f"the new process ids could not be recorded: {error}")

    def _check(self, watched: _Watched) -> bool:
        """Take the next step for a unit; whether a process was started or has ended."""
        if (self._down_folder / watched.unit.name).exists():
            return self._keep_down(watched)
        if watched.kept_down:
            watched.kept_down = False
            watched.start_at = 0.0
            self._report(f"{watched.unit.name} is no longer kept down")
        if watched.unit.pid is not None:
            watched.down = False
            return False
        if not watched.down:
            self._record_exit(watched)
            return True
        return time.monotonic() >= watched.start_at and self._start(watched)

    def _keep_down(self, watched: _Watched) -> bool:
        was_running = watched.unit.pid is not None
        if was_running:
            watched.unit.kill()
        if not watched.kept_down:
            watched.kept_down = True
            watched.down = True
            self._report(f"{watched.unit.name} is kept down by {self._down_folder / watched.unit.name}")
        return was_running

    def _record_exit(self, watched: _Watched) -> None:
        now = time.monotonic()
        watched.down = True
        watched.exits.append(now)
        recent = sum(now - moment < EXITS_WINDOW_SECONDS for moment in watched.exits)
        delay = restart_delay(recent)
        watched.start_at = now + delay
        next_step = "restarting" if delay < RESTART_SECONDS_FAILING else f"next attempt in {delay:.0f} s"
        self._report(f"{watched.unit.name} {describe(watched.unit.poll())}, {next_step}")

    def _start(self, watched: _Watched) -> bool:
        watched.start_at = time.monotonic() + RESTART_SECONDS_FAILING
        try:
            watched.unit.kill()  # leftovers of its process group
            watched.unit.spawn()
        except OSError as error:
            self._report(f"{watched.unit.name} cannot be started: {error}")
            return False
        watched.down = False
        return True


def restart_delay(exits: int) -> float:
    """Seconds until the next start, given the exits of the last minute, this one included."""
    if exits > EXITS_FAILING:
        return RESTART_SECONDS_FAILING
    return RESTART_SECONDS_UNSTEADY if exits > EXITS_UNSTEADY else RESTART_SECONDS


def describe(status: int | None) -> str:
    """An exit status in words."""
    if status is None:
        return "ended"
    if status >= 0:
        return f"exited with {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def shorten_logs(logs: Sequence[Path], *, bytes_max: int = LOG_BYTES_MAX) -> None:
    """Keep each log below a size; its content moves to NAME.log.1.

    The file is truncated in place, because its process keeps it open and appends to it.
    """
    for log in logs:
        try:
            if log.stat().st_size > bytes_max:
                _move_content(log)
        except OSError:
            continue


def _move_content(log: Path) -> None:
    older = log.with_suffix(".log.1")
    with log.open("rb") as source, open(older, "wb", opener=files.owner_only) as target:
        while piece := source.read(1 << 20):
            target.write(piece)
    with log.open("r+b") as file:
        file.truncate(0)
