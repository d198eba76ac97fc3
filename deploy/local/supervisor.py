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

LOOK_SECONDS = 0.1
RESTART_SECONDS = 0.1
RESTART_SECONDS_UNSTEADY = 1.0
RESTART_SECONDS_FAILING = 10.0
EXITS_UNSTEADY = 3
EXITS_FAILING = 10
EXITS_WINDOW_SECONDS = 60.0
LOG_LOOK_SECONDS = 10.0
LOG_BYTES_MAX = 50_000_000


class Unit(Protocol):
    """What can be supervised: an engine or a process."""

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
        """Its exit status once it has ended."""

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
    """Watches units until it is cancelled."""

    def __init__(
        self,
        units: Sequence[Unit],
        *,
        down_folder: Path,
        changed: Callable[[], None],
        tell: Callable[[str], None],
    ) -> None:
        """Watch `units`; `changed` is called after each new or lost process, `tell` with news for a person."""
        self._watched = [_Watched(unit) for unit in units]
        self._down_folder = down_folder
        self._changed = changed
        self._tell = tell

    async def watch(self) -> None:
        """Look again and again, for ever."""
        logs_at = 0.0
        while True:
            self.look()
            if time.monotonic() >= logs_at:
                shorten_logs([watched.unit.log for watched in self._watched])
                logs_at = time.monotonic() + LOG_LOOK_SECONDS
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Bring every unit one step nearer to where it should be."""
        # A list, not any(...) over a generator: one change must not keep the others from their turn.
        changes = [self._look_at(watched) for watched in self._watched]
        if any(changes):
            try:
                self._changed()
            except OSError as error:  # a full disk must not end what keeps everything up
                self._tell(f"the new process ids could not be written down: {error}")

    def _look_at(self, watched: _Watched) -> bool:
        """Whether a process came or went."""
        if (self._down_folder / watched.unit.name).exists():
            return self._keep_down(watched)
        if watched.kept_down:
            watched.kept_down = False
            watched.start_at = 0.0
            self._tell(f"{watched.unit.name} is no longer kept down")
        if watched.unit.pid is not None:
            watched.down = False
            return False
        if not watched.down:
            self._note_exit(watched)
            return True
        return time.monotonic() >= watched.start_at and self._start(watched)

    def _keep_down(self, watched: _Watched) -> bool:
        was_running = watched.unit.pid is not None
        if was_running:
            watched.unit.kill()
        if not watched.kept_down:
            watched.kept_down = True
            watched.down = True
            self._tell(f"{watched.unit.name} is kept down by {self._down_folder / watched.unit.name}")
        return was_running

    def _note_exit(self, watched: _Watched) -> None:
        now = time.monotonic()
        watched.down = True
        watched.exits.append(now)
        recent = sum(now - moment < EXITS_WINDOW_SECONDS for moment in watched.exits)
        delay = restart_delay(recent)
        watched.start_at = now + delay
        again = "restarting" if delay < RESTART_SECONDS_FAILING else f"next try in {delay:.0f} s"
        self._tell(f"{watched.unit.name} {describe(watched.unit.poll())}, {again}")

    def _start(self, watched: _Watched) -> bool:
        watched.start_at = time.monotonic() + RESTART_SECONDS_FAILING
        try:
            watched.unit.kill()  # what its last run left of its group
            watched.unit.spawn()
        except OSError as error:
            self._tell(f"{watched.unit.name} cannot be started: {error}")
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
    """Keep each log below a size; what was in it goes to NAME.log.1.

    The file is emptied in place, since its process keeps it open and appends to it.
    """
    for log in logs:
        try:
            if log.stat().st_size > bytes_max:
                _set_aside(log)
        except OSError:
            continue


def _set_aside(log: Path) -> None:
    older = log.with_suffix(".log.1")
    with log.open("rb") as source, open(older, "wb", opener=files.owner_only) as target:
        while piece := source.read(1 << 20):
            target.write(piece)
    with log.open("r+b") as file:
        file.truncate(0)
