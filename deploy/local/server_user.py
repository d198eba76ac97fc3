"""The account that PostgreSQL runs as when root starts the stack."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

NAME = "postgres"
UNPRIVILEGED = 65534
"""The number of the account `nobody`, which unprivileged services share: it gets no files."""


def find(directory: Path, *, owner: int = 0) -> pwd.struct_passwd | None:
    """The user for a server below `directory`: the owner of its data, else `postgres`; None if neither has access.

    None also where this process is not root: the server then runs as the caller.
    """
    if os.geteuid() != 0:
        return None
    candidates = [user for user in (_by_number(owner), _by_name(NAME)) if user is not None]
    return next((user for user in candidates if has_access(user, directory)), None)


def becoming(user: pwd.struct_passwd) -> list[str]:
    """The options of `setpriv` that run a program as this user."""
    return [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def has_access(user: pwd.struct_passwd, directory: Path) -> bool:
    """Whether this user can use the files below a folder."""
    command = ["setpriv", *becoming(user), "sh", "-c", 'cd "$1"', "sh", str(directory)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def stand_in() -> int:
    """A number other than 0 that root gets in a user namespace."""
    user = _by_name(NAME)
    return UNPRIVILEGED if user is None else user.pw_uid


def _by_number(number: int) -> pwd.struct_passwd | None:
    try:
        return None if number in (0, UNPRIVILEGED) else pwd.getpwuid(number)
    except KeyError:
        return None


def _by_name(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None
