"""The data folder of a stack."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from deploy.local import commands, lock
from deploy.local.errors import LocalError
from deploy.local.home import Home


def test_the_folder_down_of_an_earlier_version_is_renamed(tmp_path: Path) -> None:
    """An earlier version called it `hold`: what was kept down stays down."""
    (tmp_path / "hold").mkdir()
    (tmp_path / "hold" / "wallet").touch()
    home = Home(tmp_path)

    home.open()
    home.rename_hold_folder()

    assert ["wallet"] == [entry.name for entry in home.down.iterdir()]
    assert not (tmp_path / "hold").exists()


def test_a_folder_hold_beside_down_is_left_alone(tmp_path: Path) -> None:
    """Where both exist, only `down` counts."""
    (tmp_path / "hold").mkdir()
    (tmp_path / "hold" / "wallet").touch()
    (tmp_path / "down").mkdir()
    home = Home(tmp_path)

    home.open()
    home.rename_hold_folder()

    assert [] == list(home.down.iterdir())
    assert (tmp_path / "hold" / "wallet").exists()


async def test_a_refused_start_leaves_the_folder_hold_to_the_running_stack(tmp_path: Path) -> None:
    """A running stack of the earlier version would start what is kept down; the next start that gets the lock renames it."""
    (tmp_path / "hold").mkdir()
    (tmp_path / "hold" / "wallet").touch()
    home = Home(tmp_path)

    with lock.held(home.lock), pytest.raises(LocalError, match="already running"):
        async with commands.running(home, cast(Any, None)):
            pass

    assert (tmp_path / "hold" / "wallet").exists()
    home.open()
    home.rename_hold_folder()
    assert ["wallet"] == [entry.name for entry in home.down.iterdir()]
