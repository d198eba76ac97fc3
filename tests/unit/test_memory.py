"""Folders in memory are removed, at the latest by the next run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.harness import memory

HOLDER = """
import sys, pathlib
from tests.harness import memory
with memory.folder(pathlib.Path(sys.argv[1])) as made:
    print(made, flush=True)
    sys.stdin.read()
"""


def test_folders_of_killed_processes_are_removed(tmp_path: Path) -> None:
    """A folder is kept while its process lives; the next one removes what a killed process has left."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        held = Path(holder.stdout.readline().strip())
        (held / "file").touch()
        with memory.folder(tmp_path) as own:
            assert held.is_dir()
            assert own.is_dir()
        assert not own.exists()
        holder.kill()
    with memory.folder(tmp_path):
        assert not held.exists()

    assert [] == [*tmp_path.iterdir()]
