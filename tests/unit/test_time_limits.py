"""Shared fixtures start and stop outside a test's own time limit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
TESTS = """
import time, pytest

@pytest.fixture(scope="session")
def shared():
    time.sleep(1.2)
    yield
    time.sleep(1.2)

def test_first_and_last(shared):
    pass

def test_too_long():
    time.sleep(10)
"""


def run(folder: Path, name: str) -> str:
    """The output of pytest for one of TESTS under a limit of one second."""
    (folder / "test_it.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    options = [
        "--disable-plugin-autoload",
        "-ptimeout",
        "-ptests.harness.time_limits",
        "--timeout=1",
        "-pno:cacheprovider",
    ]
    command = [sys.executable, "-m", "pytest", *options, "--rootdir", str(folder), f"{folder}/test_it.py::{name}"]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False).stdout


def test_shared_fixtures_do_not_count(tmp_path: Path) -> None:
    """A single test starts and stops its shared fixture, each taking longer than the test's own limit."""
    assert "1 passed" in run(tmp_path, "test_first_and_last")


def test_a_test_that_hangs_is_ended(tmp_path: Path) -> None:
    """The limit applies to the test itself."""
    assert "Timeout (>1.0s)" in run(tmp_path, "test_too_long")
