"""Processes that a killed supervisor left running: recorded while it ran, ended by the next start.

The record also identifies the folder. In a copy of the folder the record lists the processes of the original, which must
not be ended: a move keeps device and inode of a folder, a copy does not. A copy keeps that record until it starts.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from deploy.local import files, lock, process
from deploy.local.errors import LocalError
from deploy.local.home import Home


class Started(Protocol):
    """A unit with a name that may have a process."""

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
    """Record the running processes and the folder."""
    found = {unit.name: process.identify(unit.pid, unit.programs) for unit in units if unit.pid is not None}
    running = {name: identity for name, identity in found.items() if identity is not None}
    files.write_json(path, {"folder": str(path.parent), **_identity(path.parent), "processes": running})


def end(path: Path) -> list[str]:
    """End the processes recorded in this folder that still run, but none with a reused process id; returns their names."""
    if not _is_record_of(_read(path), path.parent):
        return []
    alive = _alive(path)
    process.end_all(list(alive.values()))
    path.unlink(missing_ok=True)
    return sorted(alive)


def refuse_copy(path: Path) -> None:
    """Refuse to start in a copy of a folder that was copied while its stack ran, if that stack runs now.

    Raises:
        LocalError: the text names the folder of the original.
    """
    stored = _read(path)
    if _is_record_of(stored, path.parent):
        return
    running = _find_running(path)
    if running is not None:
        raise LocalError(
            f"{path.parent} was copied from {stored.get('folder', 'another folder')} while that stack was running "
            f"(process {running}); stop that stack, delete this copy and copy the folder again"
        )


def _find_running(path: Path) -> int | None:
    """A process of the original of a copied folder: one recorded in the copy, or one started there since."""
    stored, alive = _read(path), _alive(path)
    original = Home(Path(str(stored.get("folder"))))
    if not alive and _is_record_of(stored, original.path):
        holder = lock.holder(original.lock)
        if holder is not None:
            return holder
        alive = _alive(original.processes)
    return min(alive.values(), default=None)


def _alive(path: Path) -> dict[str, int]:
    recorded = _read(path).get("processes")
    if not isinstance(recorded, dict):
        return {}
    return {name: identity["pid"] for name, identity in recorded.items() if _is_running(identity)}


def _is_record_of(stored: dict[str, Any], folder: Path) -> bool:
    """Whether a record was made in this folder; False if the folder does not exist."""
    try:
        identity = _identity(folder)
    except OSError:
        return False
    return {name: stored.get(name) for name in identity} == identity


def _identity(folder: Path) -> dict[str, int]:
    status = folder.stat()
    return {"device": status.st_dev, "inode": status.st_ino}


def _read(path: Path) -> dict[str, Any]:
    """The record. A record of an earlier version has no identity and counts as that of another folder."""
    stored = files.read_object(path) or {}
    return stored if "processes" in stored else {"processes": stored}


def _is_running(identity: object) -> bool:
    try:
        return isinstance(identity, dict) and process.is_same(identity)
    except (KeyError, TypeError, ValueError):
        return False
