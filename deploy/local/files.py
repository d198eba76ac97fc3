"""Files and folders that only their owner may use; files are replaced atomically."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE_MODE = 0o600
FOLDER_MODE = 0o700
UMASK = 0o077
"""For child processes: only the owner may use their files, whatever the umask of the caller."""


def write_atomically(path: Path, text: str, *, mode: int = FILE_MODE, durable: bool = True) -> None:
    """Replace `path` by `text`; a reader sees either the old file or the complete new one, with exactly this mode.

    A file that can be made again need not be `durable`: it may be lost when the machine fails.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.unlink(missing_ok=True)  # a leftover draft may have another mode
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, mode)  # not limited by the umask of the caller
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as indented JSON."""
    write_atomically(path, json.dumps(value, indent=2) + "\n")


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`; None if there is no file, or no object in it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def owner_only(path: str, flags: int) -> int:
    """An `opener` for `open`: a file that it creates has mode 0600."""
    return os.open(path, flags, FILE_MODE)


def make_folder(path: Path) -> None:
    """Create a folder that only its owner may use, or restrict an existing one to its owner."""
    path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    path.chmod(FOLDER_MODE)


def restrict(folder: Path) -> None:
    """Remove all permissions of the group and of others from a folder and everything below it."""
    for path in (folder, *_below(folder)):
        # Processes of the stack may remove files meanwhile.
        with contextlib.suppress(FileNotFoundError):
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & UMASK:
                path.chmod(mode & ~UMASK)


def give(path: Path, *, user: int, group: int) -> None:
    """Make a user the owner of a folder and everything below it, the folder itself last."""
    for entry in (*_below(path), path):
        os.chown(entry, user, group)


def _below(folder: Path) -> Iterator[Path]:
    """Every entry below a folder except symbolic links, which may point to files of other users."""
    for root, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(root, name)
            if not path.is_symlink():
                yield path
