"""The data folder of a stack: `.payflow/` below the repository, or the one that PAYFLOW_HOME names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local import files, server_user
from deploy.local.errors import LocalError

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT = REPOSITORY / ".payflow"
PATH_BYTES_MAX = 800
"""PostgreSQL allows 1,023 bytes, including the names of its own folders."""

DISK_FREE_BYTES_MIN = 500 * 1000 * 1000


@dataclass(frozen=True, slots=True)
class Home:
    """The data folder of a stack."""

    path: Path
    clustered: bool = False
    """Whether the stack runs clusters: Patroni must be able to read both its data and the Python of its caller, who owns both."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Home:
        """The folder that PAYFLOW_HOME names, else `.payflow/` in the repository.

        Raises:
            LocalError: PAYFLOW_HOME is set but empty; the default could be the data of another stack.
        """
        named = environment.get("PAYFLOW_HOME")
        if named == "":
            raise LocalError("PAYFLOW_HOME is empty: set it to a folder, or unset it")
        return cls(DEFAULT if named is None else Path(named).absolute(), clustered=environment.get("HA") == "1")

    @property
    def lock(self) -> Path:
        """Locked by the process that runs the stack; contains its process id."""
        return self.path / "lock"

    @property
    def stack(self) -> Path:
        """The description of the running stack; it exists while everything is ready."""
        return self.path / "stack.json"

    @property
    def processes(self) -> Path:
        """The started processes, so that the next start finds those that a killed supervisor left behind."""
        return self.path / "processes.json"

    @property
    def secrets(self) -> Path:
        """Passwords and keys."""
        return self.path / "secrets.json"

    @property
    def ports(self) -> Path:
        """Private ports."""
        return self.path / "ports.json"

    @property
    def down(self) -> Path:
        """A file in here keeps the process of that name down."""
        return self.path / "down"

    @property
    def logs(self) -> Path:
        """One log per process."""
        return self.path / "logs"

    @property
    def mail(self) -> Path:
        """The e-mails of a stack without a mail server, one file each."""
        return self.path / "mail"

    def log(self, name: str) -> Path:
        """The log of one process."""
        return self.logs / f"{name}.log"

    def is_ours(self) -> bool:
        """Whether a stack created the folder: a wrong PAYFLOW_HOME must not remove other files."""
        return self.lock.exists() and self.logs.is_dir()

    def open(self) -> None:
        """Create the folders, restrict all of them to their owner, and check that the stack can use them.

        Raises:
            LocalError: the folder cannot be used, or the disk is nearly full.
        """
        _check_path(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._restrict()
            files.make_folder(self.logs)
            if not self._hold.is_dir():
                files.make_folder(self.down)
            free = shutil.disk_usage(self.path).free
        except OSError as error:
            raise LocalError(f"{self.path} cannot be used: {error.strerror}") from error
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise LocalError(f"{self.path} cannot be used: it is not yours to read and write")
        if free < DISK_FREE_BYTES_MIN:
            raise LocalError(
                f"only {free // 1_000_000} MB free below {self.path}: {DISK_FREE_BYTES_MIN // 1_000_000} MB are needed"
            )

    def rename_hold_folder(self) -> None:
        """Take over the folder `down` from an earlier version, which called it `hold` and reads it while it has the lock."""
        if self._hold.is_dir() and not self.down.exists():
            self._hold.rename(self.down)

    @property
    def _hold(self) -> Path:
        return self.path / "hold"

    def _restrict(self) -> None:
        """Deny other users access to the folder and everything below it, except the one that PostgreSQL runs as.

        A process of that user has to pass through the folder, which mode 0700 allows only its owner.
        """
        foreign = self._foreign_folder()
        if foreign is not None:
            raise LocalError(
                f"{self.path} is accessible to other users and contains {foreign}, which PayFlow did not create; "
                "set PAYFLOW_HOME to an empty folder"
            )
        files.restrict(self.path)
        if os.geteuid() == 0:
            folder = self.path.absolute().parent
            user = None if self.clustered else server_user.find(folder, owner=self.path.stat().st_uid)
            os.chown(self.path, *((0, 0) if user is None else (user.pw_uid, user.pw_gid)))

    def _foreign_folder(self) -> str | None:
        """A folder in here that no stack created, if other users have access: restricting it would lock them out."""
        if self.path == DEFAULT or self.is_ours() or not self.path.stat().st_mode & files.UMASK:
            return None
        ours = {folder.name for folder in (self.logs, self.down, self.mail)}
        return next((entry.name for entry in self.path.iterdir() if entry.is_dir() and entry.name not in ours), None)


def _check_path(path: Path) -> None:
    """Raises LocalError: an engine cannot work below this path."""
    if len(os.fsencode(path)) > PATH_BYTES_MAX:
        raise LocalError(
            f"the path of the data folder is longer than {PATH_BYTES_MAX} bytes: choose another folder with PAYFLOW_HOME"
        )
    # RabbitMQ passes its path to a shell in quotation marks.
    if any(character in "'\"" or not character.isprintable() for character in str(path)):
        raise LocalError(
            f"{str(path)!r} has a quotation mark or a control character, which RabbitMQ does not support: "
            "choose another folder with PAYFLOW_HOME"
        )
