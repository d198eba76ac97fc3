from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from deploy.local import files, leftovers, process
from deploy.local.errors import LocalError
from deploy.local.home import REPOSITORY, Home
from deploy.local.ports import find_free

DUMMY = "tests.integration.local.dummy_stack"
START_SECONDS_MAX = 20.0


def eventually(what: str, found: Callable[[], Any], *, seconds_max: float = 10.0) -> Any:
    """Wait until a value is true; returns it."""
    deadline = time.monotonic() + seconds_max
    while not (result := found()):
        assert time.monotonic() < deadline, f"not within {seconds_max} s: {what}"
        time.sleep(0.02)
    return result


class Run:
    """A dummy stack in a process of its own."""

    def __init__(self, folder: Path, *options: str, port: int | None = None) -> None:
        self.home = Home(folder)
        self.port = port or find_free()
        command = [sys.executable, "-m", DUMMY, str(folder), str(self.port), *options]
        self.process = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
        )

    def wait_ready(self) -> dict[str, Any]:
        def stack_or_end() -> Any:
            assert self.process.poll() is None, self.process.communicate()
            return self.stack

        return eventually("stack.json", stack_or_end, seconds_max=START_SECONDS_MAX)

    @property
    def stack(self) -> dict[str, Any] | None:
        return files.read_object(self.home.stack)

    def pid(self, name: str) -> int | None:
        return (self.stack or {"pids": {}})["pids"].get(name)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Signal the supervisor; returns its exit code and output."""
        self.process.send_signal(number)
        return self.result()

    def result(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    started: list[Run] = []

    def start(*options: str, port: int | None = None) -> Run:
        started.append(Run(tmp_path / "home", *options, port=port))
        return started[-1]

    yield start
    for run in started:
        if run.process.poll() is None:
            run.end(signal.SIGTERM)
    leftovers.end(tmp_path / "home" / "processes.json")


def cli(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m deploy.local` as the Makefile does."""
    return subprocess.run(
        [sys.executable, "-m", "deploy.local", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PAYFLOW_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_everything(runs: Callable[..., Run], number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end all processes, remove stack.json, and exit with 0."""
    run = runs()
    pids = run.wait_ready()["pids"]

    code, _, err = run.end(number)

    assert (code, err) == (0, "")
    assert sorted(pids) == ["gateway", "redis", "worker"]
    assert not any(process.is_alive(pid) for pid in pids.values())
    assert not run.home.stack.exists()


def test_a_killed_process_is_restarted_within_two_seconds(runs: Callable[..., Run]) -> None:
    """The restart begins within two seconds of the kill, and stack.json has the new process id."""
    run = runs()
    old = run.wait_ready()["pids"]

    os.kill(old["worker"], signal.SIGKILL)
    new = eventually(
        "a new pid", lambda: run.pid("worker") not in (None, old["worker"]) and run.pid("worker"), seconds_max=2
    )

    assert process.is_alive(new)
    assert run.pid("gateway") == old["gateway"]


def test_a_killed_engine_restarts_at_its_address_with_its_data(runs: Callable[..., Run]) -> None:
    """An engine is restarted like any process, with the same address and data."""
    run = runs()
    stack = run.wait_ready()
    with Redis.from_url(stack["redis"]) as client:
        client.set("kept", "yes")
    os.kill(stack["pids"]["redis"], signal.SIGKILL)
    eventually("a new redis", lambda: run.pid("redis") not in (None, stack["pids"]["redis"]), seconds_max=2)

    with Redis.from_url(stack["redis"]) as client:
        eventually("a login", lambda: _pings(client))
        assert client.get("kept") == b"yes"


def _is_down(run: Run, name: str) -> bool:
    return run.pid(name) is None


def test_a_process_is_kept_down_until_its_file_is_removed(runs: Callable[..., Run]) -> None:
    """A file in the folder `down` kills the process and keeps it down; without the file it is started again."""
    run = runs()
    stack = run.wait_ready()
    for name in ("worker", "redis"):
        (run.home.down / name).touch()
        eventually("the process to be down", partial(_is_down, run, name), seconds_max=2)
    time_held = time.monotonic()
    while time.monotonic() - time_held < 1.5:
        assert run.pid("worker") is None
        assert run.pid("redis") is None
        time.sleep(0.1)
    assert not process.is_alive(stack["pids"]["worker"])

    for name in ("worker", "redis"):
        (run.home.down / name).unlink()

    eventually("both to be back", lambda: run.pid("worker") and run.pid("redis"), seconds_max=3)
    with Redis.from_url(stack["redis"]) as client:
        eventually("a login", lambda: _pings(client))


def _pings(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except (RedisError, OSError):
        return False


def test_a_second_run_is_refused_and_changes_nothing(runs: Callable[..., Run]) -> None:
    """One line, a non-zero exit code, and the first run continues."""
    first = runs()
    before = first.wait_ready()

    code, out, err = runs().result()

    assert code == 1
    assert err == f"payflow: PayFlow is already running (process {first.process.pid}); stop it with: make stop\n"
    assert out == ""
    assert first.stack == before


def test_a_taken_gateway_port_is_one_line(runs: Callable[..., Run]) -> None:
    """The line names the port and a remedy; nothing is started."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        run = runs(port=other.getsockname()[1])
        code, _, err = run.result()

    assert code == 1
    assert err.count("\n") == 1
    assert f"port {run.port} is used" in err
    assert "PAYFLOW_GATEWAY_PORT" in err
    assert not run.home.processes.exists()
    assert not run.home.stack.exists()


def test_a_process_that_ends_at_start_is_one_line(runs: Callable[..., Run]) -> None:
    """The error contains the last line of its log; everything that was started is stopped."""
    run = runs("broken")
    code, _, err = run.result()

    assert code == 1
    assert err == "payflow: worker exited with 1 at start: cannot find the moon\n"
    assert not run.home.stack.exists()
    assert not process.in_directory(run.home.path / "redis", programs=frozenset({"redis-server"}))


def test_children_of_a_killed_supervisor_end_with_it(runs: Callable[..., Run]) -> None:
    """The kernel ends them; the next run reports and removes the stale stack.json, and starts."""
    if not process.ended_with_parent():
        pytest.skip("needs setpriv")
    run = runs()
    pids = run.wait_ready()["pids"].values()

    run.end(signal.SIGKILL)
    eventually("all children to end", lambda: not any(process.is_alive(pid) for pid in pids), seconds_max=3)
    assert run.home.stack.exists()
    again = runs(port=run.port)
    eventually("a new stack.json", lambda: again.pid("gateway") not in (None, *pids), seconds_max=START_SECONDS_MAX)
    code, out, err = again.end()

    assert (code, err) == (0, "")
    assert "removed the stack.json of a run that was killed" in out


def test_leftovers_of_a_killed_supervisor_are_ended_by_the_next_run(runs: Callable[..., Run]) -> None:
    """If children outlive the supervisor, the next run finds them in the record."""
    run = runs("orphans")
    pids = run.wait_ready()["pids"]
    run.end(signal.SIGKILL)
    assert process.is_alive(pids["worker"]), "or this test proves nothing"

    again = runs("orphans", port=run.port)
    eventually("a new worker", lambda: again.pid("worker") not in (None, pids["worker"]), seconds_max=START_SECONDS_MAX)

    assert not process.is_alive(pids["worker"])
    assert not process.is_alive(pids["gateway"])
    _, out, _ = again.end()
    assert "ended processes of an earlier run: gateway, worker" in out


def test_stop_ends_a_run_in_another_terminal(runs: Callable[..., Run]) -> None:
    """`stop` waits until everything has ended; a second one has nothing to do."""
    run = runs()
    pids = run.wait_ready()["pids"]

    stopped = cli(run.home.path, "stop")

    assert (stopped.returncode, stopped.stdout, stopped.stderr) == (0, "stopped\n", "")
    assert not any(process.is_alive(pid) for pid in pids.values())
    assert run.result()[0] == 0
    assert cli(run.home.path, "stop").stdout == "nothing is running\n"


def test_a_copy_beside_the_running_original_is_refused(runs: Callable[..., Run], tmp_path: Path) -> None:
    """One line, also after `stop` and a restart of the original, which continues; once that is stopped, the copy starts."""
    first = runs()
    before = first.wait_ready()
    copy = tmp_path / "copy"
    shutil.copytree(first.home.path, copy)

    refused = [Run(copy).result()]
    stopped = cli(copy, "stop")
    refused.append(Run(copy).result())

    line = (
        f"payflow: {copy} was copied from {first.home.path} while that stack was running "
        f"(process {min(before['pids'].values())}); stop that stack, delete this copy and copy the folder again\n"
    )
    assert [(code, out, err) for code, out, err in refused] == [(1, "", line)] * 2
    assert (stopped.returncode, stopped.stdout) == (0, "nothing is running\n")
    assert first.stack == before
    assert all(process.is_alive(pid) for pid in before["pids"].values())
    first.end()
    assert cli(copy, "stop").returncode == 0
    again = runs(port=first.port)
    again.wait_ready()
    assert Run(copy).result() == (1, "", line.replace(str(min(before["pids"].values())), str(again.process.pid)))
    again.end()
    second = Run(copy)
    try:
        assert second.wait_ready()["pids"]
    finally:
        assert second.end()[0] == 0


def test_clean_of_a_copy_leaves_the_running_original(runs: Callable[..., Run], tmp_path: Path) -> None:
    """`clean` removes the copy only and ends no process of the original."""
    run = runs()
    before = run.wait_ready()
    copy = tmp_path / "copy"
    shutil.copytree(run.home.path, copy)

    assert cli(copy, "clean", YES="1").returncode == 0
    assert (copy.exists(), run.stack) == (False, before)
    assert all(process.is_alive(pid) for pid in before["pids"].values())


def test_clean_asks_first_and_refuses_while_the_stack_runs(runs: Callable[..., Run]) -> None:
    """Data are removed only if nothing runs and the user has confirmed."""
    run = runs()
    run.wait_ready()
    while_running = cli(run.home.path, "clean", YES="1")
    run.end()
    unasked = cli(run.home.path, "clean", YES="")
    there = run.home.path.exists()
    agreed = cli(run.home.path, "clean", YES="1")

    assert (while_running.returncode, while_running.stderr.count("\n")) == (1, 1)
    assert (unasked.returncode, there) == (1, True)
    assert (agreed.returncode, run.home.path.exists()) == (0, False)


def test_clean_removes_no_foreign_folder(tmp_path: Path) -> None:
    """A PAYFLOW_HOME that names another folder removes no files."""
    (tmp_path / "thesis.txt").write_text("years of work")

    cleaned = cli(tmp_path, "clean", YES="1")

    assert cleaned.returncode == 1
    assert (tmp_path / "thesis.txt").exists()


def test_empty_home_is_not_the_default_folder(tmp_path: Path) -> None:
    """An empty PAYFLOW_HOME is an error of one line; nothing is started, stopped or removed."""
    refused = [cli(tmp_path, command, PAYFLOW_HOME="") for command in ("run", "demo", "stop", "clean")]

    assert [(1, "payflow: PAYFLOW_HOME is empty: set it to a folder, or unset it\n")] * 4 == [
        (each.returncode, each.stderr) for each in refused
    ]


def test_a_folder_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    """A file where the folder should be: one line, exit code 1, no traceback."""
    (tmp_path / "home").write_text("in the way")

    refused = cli(tmp_path / "home", "run")

    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert str(tmp_path / "home") in refused.stderr


def test_unreadable_secrets_are_one_line(tmp_path: Path) -> None:
    """The start fails before anything runs."""
    home = Home(tmp_path / "home")
    home.open()
    home.secrets.write_text("{")

    refused = cli(home.path, "run", PAYFLOW_GATEWAY_PORT=str(find_free()))

    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "restore it from a backup" in refused.stderr
    assert "make clean" not in refused.stderr


def test_a_full_disk_is_refused_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error states the free and the needed space."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10**12, 10**12, 300_000_000))

    with pytest.raises(LocalError, match="only 300 MB free"):
        Home(tmp_path).open()
