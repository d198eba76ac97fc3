from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local import supervisor
from deploy.local.supervisor import Supervisor, restart_delay, shorten_logs


class FakeUnit:
    """A process that the test ends."""

    programs = frozenset({"fake"})

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self.pid: int | None = 1
        self.starts = 0
        self.kills = 0
        self.status: int | None = None
        self.refuses = False

    def spawn(self) -> None:
        if self.refuses:
            raise OSError("no space left")
        self.starts += 1
        self.pid = 1 + self.starts

    def poll(self) -> int | None:
        return self.status

    def kill(self) -> None:
        if self.pid is not None:
            self.kills += 1
            self.end(-9)

    def end(self, status: int) -> None:
        self.pid, self.status = None, status


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(supervisor, "time", clock)
    return clock


class Scene:
    """A supervisor of fake units, and the lines that it reported."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.down = folder / "down"
        self.down.mkdir()
        self.units = {name: FakeUnit(name, folder / f"{name}.log") for name in names}
        self.reported: list[str] = []
        self.changes = 0
        self.disk_is_full = False
        self.supervisor = Supervisor(
            list(self.units.values()), down_folder=self.down, changed=self._changed, report=self.reported.append
        )

    def _changed(self) -> None:
        if self.disk_is_full:
            raise OSError("no space left")
        self.changes += 1


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path, "relay", "worker")


def check_for(scene: Scene, clock: Clock, seconds: float) -> None:
    """Check ten times a second for some seconds."""
    for _ in range(round(seconds * 10)):
        scene.supervisor.check()
        clock.now += 0.1


def test_a_unit_that_ended_is_restarted_within_two_seconds(scene: Scene, clock: Clock) -> None:
    """A process that was killed is restarted within two seconds; the other one is left alone."""
    scene.units["relay"].end(-9)

    check_for(scene, clock, 1.9)

    assert scene.units["relay"].starts == 1
    assert scene.units["worker"].starts == 0
    assert scene.reported == ["relay was ended by SIGKILL, restarting"]
    assert scene.changes == 2, "once without the process, once with the new one"


def test_each_of_the_first_ten_exits_is_followed_by_a_quick_restart(scene: Scene, clock: Clock) -> None:
    """Up to ten exits a minute the restart begins within two seconds."""
    unit = scene.units["worker"]
    for number in range(1, 11):
        unit.end(1)
        check_for(scene, clock, 2.0)
        assert unit.starts == number


def test_a_unit_that_keeps_ending_is_started_every_ten_seconds(scene: Scene, clock: Clock) -> None:
    """After more than ten exits in a minute there is a start every ten seconds, and one line for each exit."""
    unit = scene.units["worker"]
    for _ in range(10):
        unit.end(1)
        check_for(scene, clock, 2.0)
    scene.reported.clear()

    unit.end(1)
    check_for(scene, clock, 9.5)
    early = unit.starts
    check_for(scene, clock, 1.0)

    assert early == 10
    assert unit.starts == 11
    assert scene.reported == ["worker exited with 1, next attempt in 10 s"]


def test_old_exits_are_forgotten(scene: Scene, clock: Clock) -> None:
    """A minute after many exits a process is started quickly again."""
    unit = scene.units["worker"]
    for _ in range(10):
        unit.end(1)
        check_for(scene, clock, 2.0)
    clock.now += 61

    unit.end(1)
    check_for(scene, clock, 0.5)

    assert unit.starts == 11


def test_a_unit_that_is_kept_down_is_killed_and_stays_down(scene: Scene, clock: Clock) -> None:
    """While the folder `down` has its file, a running process is killed and not started again."""
    (scene.down / "relay").touch()

    check_for(scene, clock, 30)

    assert scene.units["relay"].kills == 1
    assert scene.units["relay"].starts == 0
    assert scene.changes == 1


def test_a_unit_that_is_started_while_kept_down_is_killed_again(scene: Scene, clock: Clock) -> None:
    """Being kept down is a state, not an event."""
    (scene.down / "relay").touch()
    check_for(scene, clock, 1)

    scene.units["relay"].spawn()
    check_for(scene, clock, 1)

    assert scene.units["relay"].pid is None
    assert scene.units["relay"].kills == 2


def test_a_unit_starts_at_once_when_it_is_no_longer_kept_down(scene: Scene, clock: Clock) -> None:
    """Removing the file starts the process; having been kept down does not count as an exit."""
    for _ in range(20):
        (scene.down / "relay").touch()
        check_for(scene, clock, 0.3)
        (scene.down / "relay").unlink()
        check_for(scene, clock, 0.3)

    assert scene.units["relay"].starts == 20
    assert scene.units["relay"].pid is not None


def test_a_failed_start_is_reported_and_retried(scene: Scene, clock: Clock) -> None:
    """A full disk does not end the supervisor: it reports the error and retries every ten seconds."""
    unit = scene.units["relay"]
    unit.end(-9)
    unit.refuses = True
    check_for(scene, clock, 5)
    unit.refuses = False

    check_for(scene, clock, 10)

    assert unit.starts == 1
    assert scene.reported == ["relay was ended by SIGKILL, restarting", "relay cannot be started: no space left"]


def test_process_ids_that_cannot_be_recorded_do_not_end_the_supervisor(scene: Scene, clock: Clock) -> None:
    """An error of stack.json does not stop the supervision."""
    scene.disk_is_full = True
    scene.units["relay"].end(-9)

    check_for(scene, clock, 1)

    assert scene.units["relay"].starts == 1
    assert "could not be recorded" in scene.reported[-1]


@pytest.mark.parametrize(("exits", "delay_max"), [(1, 0.5), (3, 0.5), (4, 1.5), (10, 1.5), (11, 10)])
def test_the_restart_delay_grows_with_the_exits(exits: int, delay_max: float) -> None:
    """The first ten restarts leave time to begin within two seconds."""
    assert restart_delay(exits) <= delay_max


def test_a_long_log_is_moved_and_truncated_in_place(tmp_path: Path) -> None:
    """A process that has its log open continues to write into the truncated file."""
    log = tmp_path / "worker.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 100)
        shorten_logs([log, tmp_path / "absent.log"], bytes_max=99)
        writer.write(b"new")

    assert log.read_bytes() == b"new"
    assert (tmp_path / "worker.log.1").read_bytes() == b"x" * 100


def test_a_short_log_is_left_alone(tmp_path: Path) -> None:
    """A log below the limit is not touched."""
    log = tmp_path / "worker.log"
    log.write_bytes(b"x" * 100)

    shorten_logs([log], bytes_max=100)

    assert log.read_bytes() == b"x" * 100
    assert not (tmp_path / "worker.log.1").exists()
