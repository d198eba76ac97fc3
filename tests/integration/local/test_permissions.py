"""Other users have no access below the data folder, whichever process writes it and whatever the umask."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from deploy.local import files, server_user
from deploy.local.engines import Postgres
from deploy.local.errors import LocalError
from deploy.local.home import Home
from tests.harness.folders import open_parent, open_to_others

IS_ROOT = os.geteuid() == 0


@pytest.fixture
def parent() -> Iterator[Path]:
    with open_parent() as folder:
        yield folder


def make_old_home(path: Path) -> None:
    """A folder as earlier versions created it."""
    for folder in (path, path / "logs", path / "redis", path / "redis" / "appendonlydir"):
        folder.mkdir(mode=0o755)
    for name in ("lock", "stack.json", "ports.json", "logs/redis.log", "redis/appendonlydir/old"):
        (path / name).touch(mode=0o644)


def test_an_existing_folder_is_restricted_at_the_start(tmp_path: Path) -> None:
    """Folders become 0700 and files 0600; the target of a symbolic link is not changed."""
    home = Home(tmp_path / "home")
    make_old_home(home.path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.touch()
    elsewhere.chmod(0o644)
    (home.logs / "link").symlink_to(elsewhere)

    home.open()

    assert open_to_others(home.path) == []
    assert elsewhere.stat().st_mode & 0o777 == 0o644


def test_a_shared_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    """A PAYFLOW_HOME that names a shared folder does not take other users' access away."""
    shared = tmp_path / "shared"
    (shared / "theirs").mkdir(parents=True)
    shared.chmod(0o777)

    with pytest.raises(LocalError, match=r"accessible to other users and contains theirs.*PAYFLOW_HOME"):
        Home(shared).open()

    assert shared.stat().st_mode & 0o777 == 0o777


async def test_postgres_has_access_to_a_closed_folder(parent: Path) -> None:
    """Inside a folder of mode 0700 it starts, runs as a user other than root if possible, and keeps its data private."""
    home = Home(parent / "home")
    home.open()
    engine = Postgres(home.path / "postgres", settings={"shared_buffers": "16MB"})
    await engine.start()
    try:
        assert open_to_others(home.path) == []
        if IS_ROOT:
            expected = server_user.find(parent)
            assert expected is not None, "the package of PostgreSQL creates this user"
            assert Path(f"/proc/{engine.pid}").stat().st_uid == expected.pw_uid
    finally:
        await engine.stop()


async def test_data_start_where_another_user_has_access(parent: Path, tmp_path: Path) -> None:
    """A folder is moved to where the user `postgres` has no access, and back: the data are there at each start."""
    homes = [parent / "first", tmp_path / "second", parent / "third"]
    counts = [await start_and_count(homes[0])]
    for before, after in itertools.pairwise(homes):
        before.rename(after)
        counts.append(await start_and_count(after))
        assert open_to_others(after) == []

    assert counts == [1, 2, 3]


async def start_and_count(path: Path) -> int:
    """Start PostgreSQL below a data folder, add a row, and count the rows."""
    home = Home(path)
    home.open()
    engine = Postgres(home.path / "postgres", settings={"shared_buffers": "16MB"})
    await engine.start()
    try:
        connection = await asyncpg.connect(engine.dsn("postgres"))
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (number int); INSERT INTO kept VALUES (1)")
        count: int = await connection.fetchval("SELECT count(*) FROM kept")
        await connection.close()
    finally:
        await engine.stop()
    return count


@pytest.mark.parametrize("umask", [0, 0o777 & ~0o700])
def test_files_are_for_their_owner_alone(tmp_path: Path, umask: int) -> None:
    """Files have mode 0600 and folders 0700, even if a killed process left a draft with another mode."""
    draft = tmp_path / f".stack.json.{os.getpid()}"
    draft.touch()
    draft.chmod(0o666)
    before = os.umask(umask)
    try:
        files.write_json(tmp_path / "stack.json", {})
        files.make_folder(tmp_path / "folder")
    finally:
        os.umask(before)

    assert (tmp_path / "stack.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o700
