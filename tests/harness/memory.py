"""Folders in memory, for data that no test needs after a crash: creating a file there costs much less than on a disk."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

MEMORY = Path("/dev/shm")
PREFIX = "payflow-tests-"
FREE_BYTES_MIN = 4 * 1024**3
"""Of memory and of its file system; a run needs about a gigabyte."""


def is_available(parent: Path = MEMORY) -> bool:
    """Whether folders can be made in memory: containers often have a small file system there."""
    if not os.access(parent, os.W_OK):
        return False
    return min(shutil.disk_usage(parent).free, psutil.virtual_memory().available) >= FREE_BYTES_MIN


@contextmanager
def folder(parent: Path = MEMORY) -> Iterator[Path]:
    """A new folder, removed at the end; the folders of processes that were killed are removed first."""
    _remove_left(parent)
    made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    with _lock_of(made).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield made
        finally:
            _remove(made)


def _remove_left(parent: Path) -> None:
    for lock_path in parent.glob(f"{PREFIX}*.lock"):
        with lock_path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            _remove(lock_path.with_suffix(""))


def _remove(made: Path) -> None:
    shutil.rmtree(made, ignore_errors=True)
    _lock_of(made).unlink(missing_ok=True)


def _lock_of(made: Path) -> Path:
    return made.with_name(f"{made.name}.lock")
