from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from deploy.local import files, leftovers, process
from deploy.local.process import Process

WITH_RUNAWAY_CHILD = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""
IGNORING = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)


def make(folder: Path, code: str) -> Process:
    return Process(
        "example", [sys.executable, "-S", "-c", code], environment={}, directory=folder, log=folder / "example.log"
    )


def wait_for_line(log: Path) -> str:
    deadline = time.monotonic() + 10
    while not (line := process.last_line(log)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return line


def wait_dead(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while process.is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not process.is_alive(pid)


def test_killing_ends_children_that_left_the_group(tmp_path: Path) -> None:
    """A child with a session of its own, as PostgreSQL's backends have, ends with its parent."""
    parent = make(tmp_path, WITH_RUNAWAY_CHILD)
    parent.spawn()
    child = int(wait_for_line(parent.log))

    parent.kill()

    assert parent.pid is None
    assert wait_dead(child)


async def test_stopping_kills_a_process_that_ignores_the_signal(tmp_path: Path) -> None:
    """After the time limit the process is killed, and `stop` returns that it did not end by itself."""
    ignoring = make(tmp_path, IGNORING)
    ignoring.spawn()
    wait_for_line(ignoring.log)

    assert await ignoring.stop(seconds_max=0.3) is False
    assert ignoring.poll() == -9


async def test_stopping_reaches_a_frozen_process(tmp_path: Path) -> None:
    """A process that was frozen with SIGSTOP ends when it is stopped."""
    frozen = make(tmp_path, "print('up', flush=True); import time; time.sleep(60)")
    frozen.spawn()
    wait_for_line(frozen.log)
    frozen.send(signal.SIGSTOP)

    assert await frozen.stop(seconds_max=5) is True


def test_a_recorded_process_is_distinguished_from_a_later_one_with_its_id(tmp_path: Path) -> None:
    """Start time, boot and program must all be as recorded, or no process is killed."""
    other = make(tmp_path, "import time; time.sleep(60)")
    other.spawn()
    try:
        assert other.pid is not None
        recorded = process.identify(other.pid, other.programs)
        assert recorded is not None
        for change in ({"started": recorded["started"] - 1}, {"boot": "another"}, {"programs": ["postgres"]}):
            record = tmp_path / "processes.json"
            leftovers.record(record, [])
            processes = {"other": recorded | change, "torn": {"pid": "x"}, "odd": 3}
            files.write_json(record, {**(files.read_object(record) or {}), "processes": processes})
            assert leftovers.end(record) == []
            assert other.pid is not None

        leftovers.record(tmp_path / "processes.json", [other])
        assert leftovers.end(tmp_path / "processes.json") == ["example"]
        assert other.pid is None
    finally:
        other.kill()


def test_a_zombie_is_not_alive() -> None:
    """A dead process whose parent has not waited for it counts as ended."""
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    try:
        assert wait_dead(child.pid)
    finally:
        child.wait()


def test_a_process_of_another_user_is_alive() -> None:
    """A process that this one may not signal counts as running."""
    assert process.is_alive(1)


def test_files_of_a_child_are_for_its_owner_alone(tmp_path: Path) -> None:
    """Its files, folders and log have no permissions for others, although the umask of the caller would give them."""
    before = os.umask(0)
    try:
        child = make(tmp_path, "import os; os.mkdir('folder'); open('file', 'w').close(); print('done', flush=True)")
        child.spawn()
    finally:
        os.umask(before)
    wait_for_line(child.log)
    child.kill()

    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in ("folder", "file", "example.log")}
    assert modes == {"folder": 0o700, "file": 0o600, "example.log": 0o600}
