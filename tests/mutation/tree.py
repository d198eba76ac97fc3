"""Copies of the tree: source files only, without anything built, downloaded or recorded."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
INSTALLED = ".installed"
LEFT_OUT = shutil.ignore_patterns(
    *(".*_cache", ".deploy", ".git", ".hypothesis", ".payflow", ".venv", "__pycache__", "*.egg-info", "dist")
)


def copy(source: Path, destination: Path) -> None:
    """Copy the tree at `source` to a folder that does not exist yet."""
    shutil.copytree(source, destination, ignore=LEFT_OUT)


def link_environment(destination: Path) -> None:
    """Let a copy use the project's own interpreter and packages; modules are found in the copy first.

    Linked entry by entry, with an installation mark of its own: a run in the copy installs nothing into the original.
    """
    lent = destination / ".venv"
    lent.mkdir()
    for entry in (ROOT / ".venv").iterdir():
        if entry.name != INSTALLED:
            (lent / entry.name).symlink_to(entry)
    (lent / INSTALLED).write_text(f"{destination.resolve()}\n")
