"""The data folder of a stack."""

from __future__ import annotations

from pathlib import Path

from deploy.local.home import Home


def test_the_folder_down_of_an_earlier_version_is_renamed(tmp_path: Path) -> None:
    """An earlier version called it `hold`: what was kept down stays down."""
    (tmp_path / "hold").mkdir()
    (tmp_path / "hold" / "wallet").touch()
    home = Home(tmp_path)

    home.open()

    assert ["wallet"] == [entry.name for entry in home.down.iterdir()]
    assert not (tmp_path / "hold").exists()


def test_a_folder_hold_beside_down_is_left_alone(tmp_path: Path) -> None:
    """Where both exist, only `down` counts."""
    (tmp_path / "hold").mkdir()
    (tmp_path / "hold" / "wallet").touch()
    (tmp_path / "down").mkdir()
    home = Home(tmp_path)

    home.open()

    assert [] == list(home.down.iterdir())
    assert (tmp_path / "hold" / "wallet").exists()
