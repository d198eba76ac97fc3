"""What a supervisor that was killed left running: recorded while it ran, ended by the next start.

The record also identifies the folder. In a copy of the folder the record lists the processes of the original, which must
not be ended: a move keeps device and inode of a folder, a copy does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from deploy.local import files, process
from deploy.local.trouble import Trouble


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
    """Write down who runs now, and in which folder."""
    found = {unit.name: process.identify(unit.pid, unit.programs) for unit in units if unit.pid is not None}
    running = {name: identity for name, identity in found.items() if identity is not None}
    files.write_json(path, {"folder": str(path.parent), **_identity(path), "processes": running})


def end(path: Path) -> list[str]:
    """End what was written down in this folder and still runs, telling a reused process id apart; the names ended."""
    alive = _alive(path)
    if alive and not _is_of_this_folder(path):
        alive = {}
    process.end_all(list(alive.values()))
    path.unlink(missing_ok=True)
    return sorted(alive)


def refuse_copy(path: Path) -> None:
    """Refuse to start in a copy of a folder whose stack runs.

    Raises:
        Trouble: it names the folder of the original.
    """
    alive = _alive(path)
    if alive and not _is_of_this_folder(path):
        original = _read(path).get("folder", "another folder")
        raise Trouble(
            f"{path.parent} was copied from {original} while that stack was running (process {min(alive.values())}); "
            "stop that stack, delete this copy and copy the folder again"
        )


def _alive(path: Path) -> dict[str, int]:
    recorded = _read(path).get("processes")
    if not isinstance(recorded, dict):
        return {}
    return {name: identity["pid"] for name, identity in recorded.items() if _is_running(identity)}


def _is_of_this_folder(path: Path) -> bool:
    stored = _read(path)
    return {name: stored.get(name) for name in ("device", "inode")} == _identity(path)


def _identity(path: Path) -> dict[str, int]:
    folder = path.parent.stat()
    return {"device": folder.st_dev, "inode": folder.st_ino}


def _read(path: Path) -> dict[str, Any]:
    """The record. One of an earlier version has no identity and is taken for that of another folder."""
    stored = files.read_object(path) or {}
    return stored if "processes" in stored else {"processes": stored}


def _is_running(identity: object) -> bool:
    try:
        return isinstance(identity, dict) and process.is_same(identity)
    except (KeyError, TypeError, ValueError):
        return False
