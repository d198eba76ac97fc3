"""The base of all engines: start until a login works, stop, kill, and start again."""

from __future__ import annotations

import abc
import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from deploy.local import process
from deploy.local.errors import LocalError
from deploy.local.ports import Ports
from deploy.local.process import Process
from deploy.secrets.store import Secrets

READY_POLL_SECONDS = 0.03
PROBE_SECONDS_MAX = 2.0
ATTEMPTS_MAX = 3
ADDRESS_TAKEN = ("address already in use", "eaddrinuse", "could not bind")


class Engine(abc.ABC):
    """A private server with its data, ports and passwords in one folder."""

    name: str
    """The NAME of the engine in stack.json."""
    programs: frozenset[str]
    """The programs that may be found working in the engine's folder."""
    port_names: tuple[str, ...]
    """The ports the engine needs, as remembered in its folder."""
    holds_databases: bool = False
    """Whether the databases need it, so that it must run before they are migrated."""
    ready_seconds_max: float = 60.0
    stop_seconds_max: float = 20.0

    def __init__(
        self,
        directory: Path,
        *,
        ports: Ports | None = None,
        secrets: Secrets | None = None,
        log: Path | None = None,
    ) -> None:
        """Keep everything in `directory`, unless ports, secrets or log are given."""
        self.directory = directory.resolve()
        self._ports = ports or Ports(self.directory / "ports.json")
        self._secrets = secrets or Secrets(self.directory / "secrets.json")
        self.log = log or self.directory / f"{self.name}.log"
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """The process id while the engine runs, else None."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the engine and wait until a login works.

        Raises:
            LocalError: the engine is not installed, ended at once, or took too long.
        """
        for attempt in range(1, ATTEMPTS_MAX + 1):
            await self.prepare()
            log_size = self.log.stat().st_size if self.log.exists() else 0
            self.spawn()
            try:
                await self.wait_ready()
            except BaseException as error:
                self.kill()
                if attempt == ATTEMPTS_MAX or not self._lost_port(error, log_size):
                    raise
            else:
                return

    def spawn(self) -> None:
        """Start the prepared engine without waiting, after ending leftover processes."""
        self.end_orphans()
        assert self._process is not None, "spawn follows prepare"
        self._process.spawn()

    async def wait_ready(self) -> None:
        """Wait until a login works.

        Raises:
            LocalError: the engine ended, or took longer than `ready_seconds_max`.
        """
        assert self._process is not None, "wait_ready follows spawn"
        deadline = time.monotonic() + self.ready_seconds_max
        while not await self.is_ready():
            status = self._process.poll()
            if status is not None:
                raise LocalError(f"{self.name} ended at start ({status}): {self._process.last_line()}")
            if time.monotonic() > deadline:
                raise LocalError(f"{self.name} was not ready in {self.ready_seconds_max:.0f} s; see {self.log}")
            await asyncio.sleep(READY_POLL_SECONDS)

    def poll(self) -> int | None:
        """The exit status once the engine has ended; None before."""
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """Kill the engine and all its processes and wait for their end."""
        if self._process is not None:
            self._process.kill()
        self.end_orphans()

    def end_orphans(self) -> None:
        """Kill the processes whose working directory is the engine's folder, so that none disturbs a new start."""
        process.end_all(process.in_directory(self.working_directory, programs=self.programs))

    @property
    def working_directory(self) -> Path:
        """The working directory of the engine's processes."""
        return self.directory

    @abc.abstractmethod
    async def prepare(self) -> None:
        """Find the programs, create the data folder and write the configuration."""

    @abc.abstractmethod
    async def is_ready(self) -> bool:
        """Whether a login works now."""

    @abc.abstractmethod
    async def stop(self) -> None:
        """Stop the engine cleanly; kill it if it does not end in time."""

    def _port(self, suffix: str = "") -> int:
        return self._ports.get(self.name + suffix)

    def _take_ports(self) -> None:
        """Keep the remembered ports, except those that another program uses by now."""
        for name in self.port_names:
            self._ports.take(name)

    def _lost_port(self, error: BaseException, log_size: int) -> bool:
        """Whether another program took a port between the check and the start; if so, forget the ports."""
        if not isinstance(error, LocalError):
            return False
        with self.log.open("rb") as file:
            file.seek(log_size)
            text = file.read().decode(errors="replace").lower()
        if not any(words in text for words in ADDRESS_TAKEN):
            return False
        for name in self.port_names:
            self._ports.forget(name)
        return True


async def is_ok(url: str) -> bool:
    """Whether a page of an engine responds with success."""
    timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS_MAX)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            return response.ok
    except (aiohttp.ClientError, TimeoutError):
        return False


@contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Silence these loggers: while waiting for a start, failed logins are expected."""
    import logging  # noqa: PLC0415 - only while waiting for an engine

    kept = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in kept.items():
            logging.getLogger(name).setLevel(level)
