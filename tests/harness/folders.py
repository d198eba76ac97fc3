"""What other users of the machine may do with a folder and its contents."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OTHERS = stat.S_IRWXG | stat.S_IRWXO


def open_to_others(folder: Path) -> list[str]:
    """The entries, the folder included, with any permission for the group or for others."""
    found = []
    for path in (folder, *(Path(root, name) for root, *names in os.walk(folder) for name in (*names[0], *names[1]))):
        try:
            status = path.lstat()
        except FileNotFoundError:  # the engines make and remove files all the time
            continue
        if status.st_mode & OTHERS and not stat.S_ISLNK(status.st_mode):
            found.append(f"{stat.filemode(status.st_mode)} {path}")
    return found


def read_as_nobody(path: Path) -> bool:
    """Whether the account `nobody` can read a file or list a folder; only root can check this."""
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    command = [*become, "ls" if path.is_dir() else "cat", str(path)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def open_parent() -> Iterator[Path]:
    """A temporary folder that every user may enter and read, unlike those of pytest."""
    parent = Path(tempfile.mkdtemp(prefix="payflow-test-"))
    parent.chmod(0o755)
    try:
        yield parent
    finally:
        shutil.rmtree(parent)
