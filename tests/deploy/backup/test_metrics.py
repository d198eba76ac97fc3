"""The ages of the backups, read from their folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.backup.metrics import Metrics

SERVER = "7400000000000000001-1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of backups with one server."""
    (tmp_path / SERVER / "base").mkdir(parents=True)
    (tmp_path / SERVER / "wal").mkdir()
    return tmp_path


def measured(folder: Path) -> dict[str, float]:
    """The values of the metrics."""
    return {sample.name: sample.value for metric in Metrics(folder).registry.collect() for sample in metric.samples}


def add_base(folder: Path, name: str, ended: str) -> None:
    """A base backup as backup.sh leaves it."""
    (folder / SERVER / "base" / name).mkdir()
    (folder / SERVER / "base" / name / "ended").write_text(f"{ended}\n")


def test_the_newest_complete_backup_counts(folder: Path) -> None:
    """Not one that is being made: its name begins with a dot."""
    add_base(folder, "20260101T020000Z", "2026-01-01 02:10:00+00")
    add_base(folder, "20260102T020000Z", "2026-01-02 02:10:00+00")
    add_base(folder, ".20260103T020000Z", "2026-01-03 02:10:00+00")

    assert 1767319800.0 == measured(folder)["payflow_backup_base_timestamp_seconds"]


def test_the_newest_segment_counts(folder: Path) -> None:
    """Also an incomplete one; files that are no segments do not count."""
    for name, time in (("000000010000000000000001", 100), ("000000010000000000000002.partial", 200), ("notes", 300)):
        (folder / SERVER / "wal" / name).touch()
        os.utime(folder / SERVER / "wal" / name, (time, time))

    assert 200.0 == measured(folder)["payflow_backup_log_timestamp_seconds"]


def test_without_backups_the_times_are_zero(tmp_path: Path) -> None:
    """So that the alert about late backups fires: a figure that is missing would be silent."""
    assert {0.0} == set(measured(tmp_path / "missing").values())
