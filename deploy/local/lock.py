"""One stack per folder: a lock that the kernel releases however its holder ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from deploy.local import files
from deploy.local.errors import LocalError


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock; the file contains the process id of its holder.

    Raises:
        LocalError: another process holds it, or the file cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, files.FILE_MODE)
    except OSError as error:
        raise LocalError(f"{path} cannot be used: {error.strerror}") from error
    try:
        if not _try_lock(descriptor):
            raise LocalError(f"PayFlow is already running (process {_read(descriptor)}); stop it with: make stop")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def holder(path: Path) -> int | None:
    """The process id of the holder; None if the lock is free."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LocalError(f"{path} cannot be used: {error.strerror}") from error
    try:
        if _try_lock(descriptor):
            return None
        text = _read(descriptor)
        return int(text) if text.isdigit() else 0
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode(errors="replace").strip()
