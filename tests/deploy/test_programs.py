"""What deployment commands do about failures."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import programs
from deploy.secrets import files


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that cannot be made, as with another owner or a full disk, is one line that names it, and exit code 1."""
    blocked = tmp_path / "file" / "compose"
    blocked.parent.write_text("no folder")

    def write() -> None:
        files.write(blocked)

    assert programs.exit_code(write) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("payflow: ")
    assert str(blocked) in line
