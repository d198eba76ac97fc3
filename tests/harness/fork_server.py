"""Start Python programs as forks of a process that has imported all services: milliseconds of CPU instead of a second each.

`python -m services.SERVICE ROLE` spends most of its start on imports. The fork server imports everything once, starts no
thread and no event loop, and forks itself for each program. Otherwise a program is as if its command had been run: a child of the
process that requested it, ended by the kernel together with that process, and the leader of a session, with its own environment,
log and exit status.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from deploy.local import environment, files
from deploy.local.home import REPOSITORY

PACKAGES = ("services", "deploy.local")
FURTHER = ("alembic.command", "sqlalchemy.ext.asyncio", "uvloop")
NOT_IMPORTED = ("__main__", "migrations", "alembic")
"""Programs, and revisions that Alembic loads."""

REQUEST_BYTES_MAX = 128 * 1024
POLL_SECONDS = 0.01
TASKS = Path("/proc/self/task")
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Program:
    """A module to run as `python -m` would, and what its process finds."""

    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    parent: int
    """The process that requested it."""


class Child:
    """A forked program, with the methods of `subprocess.Popen` that are used here."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status once it has ended (negative: the signal); None before."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid == self.pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait until it has ended.

        Raises:
            TimeoutExpired: it has not.
        """
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(POLL_SECONDS)
        return status

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended: its number may be another's then."""
        if self.poll() is None:
            os.kill(self.pid, sig)


class ForkServer:
    """The connection to a fork server, from the process that is the parent of its programs."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def spawn(
        self,
        module: str,
        *arguments: str,
        environment: Mapping[str, str],
        output: IO[bytes],
        errors: IO[bytes] | None = None,
    ) -> Child:
        """Start `python -m MODULE ARGUMENTS` in the repository; what it writes is appended to `output`, and to `errors`."""
        assert "LD_PRELOAD" not in environment, "a library can be loaded into a new program only"
        program = {
            "module": module,
            "arguments": arguments,
            "environment": dict(environment),
            "parent": os.getpid(),
        }
        with _adopting_orphans():
            outputs = [output.fileno(), (errors or output).fileno()]
            socket.send_fds(self._connection, [json.dumps(program).encode()], outputs)
            reply = self._connection.recv(REQUEST_BYTES_MAX)
        assert reply, "the fork server has ended"
        return Child(int(reply))


_shared: list[ForkServer] = []


def shared() -> ForkServer:
    """The fork server of this process, started by its command on first use; it ends with this process."""
    if not _shared:
        _shared.append(_start())
    return _shared[0]


def _start() -> ForkServer:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(theirs.fileno())],
        cwd=REPOSITORY,
        env=environment.passed_on(os.environ),
        stdin=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
        start_new_session=True,
    )
    theirs.close()
    atexit.register(_end, process, ours)
    return ForkServer(ours)


def _end(process: subprocess.Popen[bytes], connection: socket.socket) -> None:
    connection.close()
    process.wait()


def fork_shared() -> None:
    """Make the fork server of this process a fork of it. This process has imported everything and has no other thread."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        os.setsid()
        serve(theirs)
    theirs.close()
    _shared.append(ForkServer(ours))


def import_everything() -> None:
    """Import what programs import, and keep the garbage collector from touching, that is copying, the pages of it."""
    for package in PACKAGES:
        _import_below(package)
    for name in FURTHER:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def serve(connection: socket.socket) -> NoReturn:
    """Fork a program for each request until the other side has ended."""
    assert 1 == threading.active_count() == len([*TASKS.iterdir()]), "threads do not survive a fork"
    while True:
        request, outputs, _, _ = socket.recv_fds(connection, REQUEST_BYTES_MAX, 2)
        if not request:
            os._exit(0)
        pid = _fork_orphan(connection, request, outputs)
        for descriptor in outputs:
            os.close(descriptor)
        connection.send(str(pid).encode())


def _fork_orphan(connection: socket.socket, request: bytes, outputs: Sequence[int]) -> int:
    """Fork a program by way of a process that ends at once: the one that requested it adopts the orphan."""
    reading, writing = os.pipe()
    between = os.fork()
    if between == 0:
        own = os.getpid()
        program = os.fork()
        if program:
            os.write(writing, str(program).encode())
            os._exit(0)
        for descriptor in (reading, writing):
            os.close(descriptor)
        connection.close()
        _become(Program(**json.loads(request)), outputs, forked_by=own)
    os.close(writing)
    pid = int(os.read(reading, 32))
    os.close(reading)
    # Once it is gone, its child has the new parent.
    os.waitpid(between, 0)
    return pid


def _become(program: Program, outputs: Sequence[int], *, forked_by: int) -> NoReturn:
    """Be the program."""
    os.setsid()
    os.umask(files.UMASK)
    for standard, descriptor in zip((1, 2), outputs, strict=True):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(program.environment)
    time.tzset()
    while os.getppid() == forked_by:
        time.sleep(0.001)
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != program.parent:  # it ended before the kernel was told to end this process too
        os.kill(os.getpid(), signal.SIGKILL)
    sys.argv = [program.module, *program.arguments]
    runpy.run_module(program.module, run_name="__main__", alter_sys=True)
    sys.exit(0)


@contextmanager
def _adopting_orphans() -> Iterator[None]:
    """Become the parent of what loses its own below this process."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 0)


def _import_below(package: str) -> None:
    module: Any = importlib.import_module(package)
    for found in pkgutil.iter_modules(module.__path__):
        if found.name not in NOT_IMPORTED:
            name = f"{package}.{found.name}"
            _import_below(name) if found.ispkg else importlib.import_module(name)


if __name__ == "__main__":
    import_everything()
    serve(socket.socket(fileno=int(sys.argv[1])))
