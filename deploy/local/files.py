"""Files and folders that only their owner may use; a file is either the old text or the new one, never half of each."""

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
"""For child processes: what they make is for its owner alone, whatever the umask of the caller."""


def write_atomically(path: Path, text: str, *, mode: int = FILE_MODE) -> None:
    """Replace `path` by `text`; a reader sees the old file or the whole new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.unlink(missing_ok=True)  # a draft that was left behind may have another mode
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as JSON, readable by people."""
    write_atomically(path, json.dumps(value, indent=2) + "\n")


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`; None when there is no file or no object in it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def owner_only(path: str, flags: int) -> int:
    """An `opener` for `open`: a file that it creates has mode 0600."""
    return os.open(path, flags, FILE_MODE)


def make_folder(path: Path) -> None:
    """Make a folder that only its owner may use; an existing one is restricted to its owner."""
    path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    path.chmod(FOLDER_MODE)


def restrict(folder: Path) -> None:
    """Remove all permissions of the group and of others from a folder and everything below it."""
    for path in (folder, *_below(folder)):
        # Processes of the stack may run and remove their files meanwhile.
        with contextlib.suppress(FileNotFoundError):
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & UMASK:
                path.chmod(mode & ~UMASK)


def give(path: Path, *, user: int, group: int) -> None:
    """Make a user the owner of a folder and everything below it, the folder itself last."""
    for entry in (*_below(path), path):
        os.chown(entry, user, group)


def _below(folder: Path) -> Iterator[Path]:
    """Every entry below a folder except symbolic links: what they point to may belong to others."""
    for root, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(root, name)
            if not path.is_symlink():
                yield path
