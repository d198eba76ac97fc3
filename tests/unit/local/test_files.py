from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from deploy.local import files


def test_a_file_is_replaced_with_its_mode(tmp_path: Path) -> None:
    """The new text is complete, its mode is right, and no draft is left."""
    path = tmp_path / "secrets.json"
    path.write_text("old")

    files.write_atomically(path, "new", mode=0o600)

    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secrets.json"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the old text stays, and no draft is left."""
    path = tmp_path / "stack.json"
    path.write_text("old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(OSError, match="No space left"):
        files.write_atomically(path, "new")

    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["stack.json"]


@pytest.mark.parametrize("text", [None, "", "{", "[1]", "null"])
def test_a_file_without_an_object_reads_as_none(tmp_path: Path, text: str | None) -> None:
    """A missing, incomplete or foreign file reads as None."""
    path = tmp_path / "ports.json"
    if text is not None:
        path.write_text(text)

    assert files.read_object(path) is None
