"""Which backups the script removes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from deploy.local.engines import Postgres
from deploy.local.home import REPOSITORY

SCRIPT = REPOSITORY / "deploy" / "backup" / "backup.sh"
TIMES = ("20260101T020000Z", "20260102T020000Z", "20260103T020000Z")
SEGMENT = "0000000100000000000000{:02X}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three base backups of one server, which begin in the segments 2, 4 and 6 of its log; and the log of an earlier server."""
    for number, time in enumerate(TIMES, start=1):
        base = tmp_path / "7-1" / "base" / time
        (base / "data").mkdir(parents=True)
        (base / "ended").write_text(f"2026-01-{number:02d} 02:00:01+00\n")
        label = f"START WAL LOCATION: 0/{2 * number}000028 (file {SEGMENT.format(2 * number)})\n"
        (base / "data" / "backup_label").write_text(label)
    for server in ("6-1", "7-1"):
        (tmp_path / server / "wal").mkdir(parents=True)
        for number in range(1, 8):
            (tmp_path / server / "wal" / SEGMENT.format(number)).touch()
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the script to its end."""
    programs = Postgres(folder).find_programs()
    environment = {
        "TMPDIR": str(folder),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PAYFLOW_BACKUP_FOLDER": str(folder),
        "PGHOST": "/nowhere",
    }
    command = ["sh", str(SCRIPT), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_newest_backups_and_their_log_stay(folder: Path) -> None:
    """As many base backups as were named stay, with the log since the oldest of them; a server without any is removed."""
    done = run(folder, "prune", "2")

    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in (folder / "7-1" / "base").iterdir()) == list(TIMES[1:])
    assert sorted(path.name for path in (folder / "7-1" / "wal").iterdir()) == [SEGMENT.format(n) for n in range(4, 8)]
    assert not (folder / "6-1").exists()


@pytest.mark.parametrize("command", ["prune", "nightly"])
@pytest.mark.parametrize("count", ["0", "00", "", "-1", "all"])
def test_the_last_backup_is_never_removed(folder: Path, command: str, count: str) -> None:
    """A count that is no positive number is one line before anything is done, and nothing is removed."""
    before = sorted(folder.rglob("*"))

    done = run(folder, command, count)

    assert done.stderr == "payflow: the number of base backups to keep must be at least 1\n"
    assert (done.returncode, sorted(folder.rglob("*"))) == (1, before)


def test_the_rest_of_a_night_that_was_killed_is_removed(folder: Path) -> None:
    """The scratch folder of an earlier trial does not stay, even if no backup can be made."""
    (folder / "payflow-try.aB3dE6gH9j" / "data").mkdir(parents=True)

    done = run(folder, "nightly", "7")

    assert done.stderr.startswith("payflow: no connection for replication: ")
    assert sorted(path.name for path in folder.iterdir()) == ["6-1", "7-1"]
