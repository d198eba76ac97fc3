"""A private PostgreSQL: fully durable, with passwords, on the loopback only.

PostgreSQL refuses to run as root. Started by root it runs as the owner of its data or as the
`postgres` user. If that user has no access to the folder (a checkout in a private home), it runs in a
user namespace in which root has the number of that user, and root owns its data.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from deploy.local import files, server_user
from deploy.local.engines.engine import Engine
from deploy.local.errors import LocalError
from deploy.local.ports import LOOPBACK, Ports
from deploy.local.process import ENDED_WITH_PARENT, Process
from deploy.secrets.store import Secrets

Address = tuple[str, int]
"""Host and port."""

VERSION_MIN = 15
SUPERUSER = "payflow"
DATABASES = ("auth", "wallet", "transaction", "notification")
ROLES = (
    *(f"payflow_{database}_owner" for database in DATABASES),
    *(f"payflow_{database}" for database in DATABASES),
    "payflow_wallet_proof",
    "payflow_wallet_seal",
    "payflow_backup",
    "payflow_monitor",
    "payflow_scaler",
)
"""The roles of the databases, as `provision.sql` creates them."""

PROVISIONING = Path(__file__).parents[2] / "postgres" / "provision.sql"
LOGIN_SECONDS_MAX = 2.0
PACKAGED = Path("/usr/lib/postgresql")
CLEAN_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}

SETTINGS = {
    "listen_addresses": LOOPBACK,
    # No socket file: its path could be too long, and all logins are over TCP.
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "200",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
    "log_checkpoints": "off",
}


def find_programs(version: int | None = None) -> Path | None:
    """The folder with initdb and postgres, of this version or the newest; None if there is none."""
    folders = [folder for folder in PACKAGED.glob("*/bin") if folder.parent.name.isdigit()]
    folders.sort(key=lambda folder: int(folder.parent.name), reverse=True)
    on_path = shutil.which("postgres")
    if on_path is not None:
        folders.append(Path(on_path).resolve().parent)
    for folder in folders:
        found = _version(folder)
        if found is not None and found >= VERSION_MIN and version in (None, found):
            return folder
    return None


def _version(folder: Path) -> int | None:
    if not (folder / "initdb").exists() or not (folder / "postgres").exists():
        return None
    if folder.parent.name.isdigit():
        return int(folder.parent.name)
    result = subprocess.run([folder / "postgres", "-V"], capture_output=True, text=True, check=False)
    match = re.search(r" (\d+)", result.stdout)
    return int(match[1]) if match else None


class Postgres(Engine):
    """A PostgreSQL server of its own below one folder."""

    name = "postgres"
    programs = frozenset({"postgres", "setpriv", "unshare"})
    port_names: tuple[str, ...] = ("postgres",)
    holds_databases = True

    def __init__(
        self,
        directory: Path,
        *,
        ports: Ports | None = None,
        secrets: Secrets | None = None,
        log: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Keep everything in `directory`; `settings` are added to the server's configuration."""
        super().__init__(directory, ports=ports, secrets=secrets, log=log)
        self._settings = {**SETTINGS, **(settings or {})}

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.directory / "data"

    @property
    def working_directory(self) -> Path:
        """The data folder, which is the working directory of all PostgreSQL processes."""
        return self.data

    @property
    def address(self) -> Address:
        """Where the server listens."""
        return LOOPBACK, self._port()

    @property
    def folder(self) -> Path:
        """The folder of the data folder."""
        return self.directory

    @property
    def parts(self) -> list[Engine]:
        """What is started for it: the server itself."""
        return [self]

    def dsn(self, database: str, role: str = SUPERUSER) -> str:
        """The URL of `database` with the login of `role`."""
        return dsn(self.address, database, login=(role, self._secrets.password(f"postgres:{role}")))

    def replica_dsn(self, _database: str, _role: str) -> str | None:
        """None: a single server has no replica."""
        return None

    async def prepare(self) -> None:
        """Create the data folder if there is none, and write the configuration."""
        files.make_folder(self.directory)
        self.end_orphans()
        self._give_to_server_user()
        programs = self.find_programs()
        if not (self.data / "PG_VERSION").exists():
            await self._initialise(programs)
        elif not self._secrets.has(f"postgres:{SUPERUSER}"):
            raise LocalError(f"the password of {self.data} is lost; restore secrets.json from a backup")
        self._take_ports()
        self._write_settings()
        self._process = Process(
            self.name,
            [str(programs / "postgres"), "-D", str(self.data)],
            environment=CLEAN_ENVIRONMENT,
            directory=self.directory,
            log=self.log,
            launcher=self._launcher(),
        )

    async def is_ready(self) -> bool:
        """Whether the superuser can log in."""
        try:
            connection = await asyncpg.connect(self.dsn("postgres"), timeout=LOGIN_SECONDS_MAX)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        await connection.close(timeout=LOGIN_SECONDS_MAX)
        return True

    async def provision(self) -> None:
        """Create the databases and roles, or update existing ones; safe to repeat.

        Raises:
            LocalError: the server refused a statement.
        """
        await provision(self.address, programs=self.find_programs(), secrets=self._secrets, folder=self.directory)

    async def stop(self) -> None:
        """Stop PostgreSQL at once but cleanly: it closes its connections, and loses nothing."""
        if self._process is not None:
            await self._process.stop(seconds_max=self.stop_seconds_max, number=signal.SIGINT)
            self.end_orphans()

    def end_orphans(self) -> None:
        """Kill the processes in the data folder and remove the lock file of the last run.

        PostgreSQL would refuse to start if another process had the id in that file.
        """
        super().end_orphans()
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def find_programs(self) -> Path:
        """The folder with the programs of the version that made the data.

        Raises:
            LocalError: it is not installed.
        """
        stored = self.data / "PG_VERSION"
        version = int(stored.read_text()) if stored.exists() else None
        programs = find_programs(version)
        if programs is None and version is not None:
            raise LocalError(f"{self.data} was made by PostgreSQL {version}, which is not installed")
        if programs is None:
            raise LocalError(f"PostgreSQL {VERSION_MIN} or newer is missing: install the package postgresql")
        return programs

    async def _initialise(self, programs: Path) -> None:
        """Create the data folder under another name and rename it: an incomplete one is never used."""
        draft = self.directory / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        password = self.directory / "password.new"
        files.write_atomically(password, self._secrets.password(f"postgres:{SUPERUSER}"))
        if os.geteuid() == 0:
            owner = self.directory.stat()
            for path in (draft, password):
                os.chown(path, owner.st_uid, owner.st_gid)
        try:
            await _run(
                "initdb",
                [
                    *self._launcher(),
                    *(str(programs / "initdb"), "--pgdata", str(draft)),
                    *("--username", SUPERUSER, "--pwfile", str(password)),
                    *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"),
                ],
                environment=CLEAN_ENVIRONMENT | {"HOME": str(draft)},
            )
            draft.rename(self.data)
        finally:
            password.unlink(missing_ok=True)
            shutil.rmtree(draft, ignore_errors=True)

    def _write_settings(self) -> None:
        values = {**self._settings, "port": str(self._port())}
        lines = [f"{name} = '{value}'" for name, value in values.items()]
        path = self.data / "postgresql.conf"
        files.write_atomically(path, "\n".join(lines) + "\n")
        owner = self.data.stat()
        os.chown(path, owner.st_uid, owner.st_gid)

    def _launcher(self) -> list[str]:
        """The prefix that starts a program of PostgreSQL as a user other than root."""
        setpriv = shutil.which("setpriv")
        if os.geteuid() != 0:
            return [setpriv, *ENDED_WITH_PARENT] if setpriv else []
        if setpriv is None:
            raise LocalError("setpriv is missing: install the package util-linux")
        user = self._server_user()
        if user is not None:
            return [setpriv, *server_user.becoming(user), *ENDED_WITH_PARENT]
        number = server_user.stand_in()
        mapping = [f"--map-user={number}", f"--map-group={number}"]
        return ["unshare", "--user", *mapping, setpriv, *ENDED_WITH_PARENT]

    def _server_user(self) -> pwd.struct_passwd | None:
        """The user that PostgreSQL runs as; None if that is the caller, possibly in a user namespace."""
        owner = self.data.stat().st_uid if self.data.exists() else 0
        return server_user.find(self.directory.parent, owner=owner)

    def _give_to_server_user(self) -> None:
        """As root, make the user that PostgreSQL runs as the owner of the folder and of the data.

        They may have another owner if the folder was moved, copied, or made private.
        """
        if os.geteuid() != 0:
            return
        user = self._server_user()
        number, group = (0, 0) if user is None else (user.pw_uid, user.pw_gid)
        os.chown(self.directory, number, group)
        if self.data.exists() and self.data.stat().st_uid != number:
            files.give(self.data, user=number, group=group)


def dsn(address: Address, database: str, *, login: tuple[str, str]) -> str:
    """The URL of a database of the server at an address; `login` is a role and its password."""
    (host, port), (role, password) = address, login
    return f"postgresql://{role}:{password}@{host}:{port}/{database}"


async def provision(address: Address, *, programs: Path, secrets: Secrets, folder: Path) -> None:
    """Create the databases and roles on the server at an address, or update existing ones; safe to repeat.

    The passwords are in a temporary folder below `folder` meanwhile.

    Raises:
        LocalError: the server refused a statement.
    """
    host, port = address
    login = {
        "PGHOST": host,
        "PGPORT": str(port),
        "PGUSER": SUPERUSER,
        "PGDATABASE": "postgres",
        "PGPASSWORD": secrets.password(f"postgres:{SUPERUSER}"),
    }
    command = [str(programs / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(PROVISIONING)]
    with tempfile.TemporaryDirectory(dir=folder) as passwords:
        for role in ROLES:
            files.write_atomically(Path(passwords, f"{role}_password"), secrets.password(f"postgres:{role}"))
        environment = CLEAN_ENVIRONMENT | login | {"PAYFLOW_SECRETS_DIR": passwords}
        await _run("psql", command, environment=environment)


async def _run(name: str, command: list[str], *, environment: Mapping[str, str]) -> None:
    """Run a program of PostgreSQL to its end.

    Raises:
        LocalError: it failed; with its last line of output.
    """
    child = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        output, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        lines = output.decode(errors="replace").strip().splitlines()
        raise LocalError(f"{name} failed: {lines[-1] if lines else 'no output'}")
