"""What a supervisor that was killed left running: recorded while it ran, ended by the next start."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from deploy.local import files, process


class Started(Protocol):
    """Something with a name that may have a process."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""

    @property
    def programs(self) -> frozenset[str]:
        """The programs that may be found under that id."""


def record(path: Path, units: Iterable[Started]) -> None:
    """Write down who runs now."""
    found = {unit.name: process.identify(unit.pid, unit.programs) for unit in units if unit.pid is not None}
    files.write_json(path, {name: identity for name, identity in found.items() if identity is not None})


def end(path: Path) -> list[str]:
    """End what was written down and still runs, telling a reused process id apart; the names ended."""
    recorded = files.read_object(path) or {}
    alive = {name: identity["pid"] for name, identity in recorded.items() if _is_running(identity)}
    process.end_all(list(alive.values()))
    path.unlink(missing_ok=True)
    return sorted(alive)


def _is_running(identity: object) -> bool:
    try:
        return isinstance(identity, dict) and process.is_same(identity)
    except (KeyError, TypeError, ValueError):
        return False
