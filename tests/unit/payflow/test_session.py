"""Storage of sessions."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

import pytest

from payflow import session
from payflow.errors import Misconfigured
from payflow.session import FileSessionStore, MemorySessionStore, Session, User

GATEWAY = "http://127.0.0.1:8000"
ALICE = User("u-1", "alice@example.com", "Alice", "user")


def made(token: str = "a-1") -> Session:
    return Session(user=ALICE, access_token=token, refresh_token="r-1", renew_at=time.time() + 60)


def test_granted() -> None:
    """A session is due for a refresh a little before its token expires."""
    user = {"id": "u-1", "email": "alice@example.com", "name": "Alice", "role": "operator"}
    granted = Session.granted({"user": user, "access_token": "a", "refresh_token": "r", "expires_in": 600})

    assert granted.renew_at == pytest.approx(time.time() + 540, abs=5)
    assert granted.user.is_operator
    assert not granted.is_due


def test_tokens_are_not_shown() -> None:
    """The `repr` of a session, as in a log or a traceback, has no token."""
    assert "a-1" not in repr(made())
    assert "r-1" not in repr(made())


def test_memory() -> None:
    """A session in memory stays until it is removed."""
    session_store = MemorySessionStore()
    assert session_store.load() is None
    session_store.save(made())
    assert session_store.load() is not None
    session_store.save(None)
    assert session_store.load() is None


def test_file(tmp_path: Path) -> None:
    """A session in a file is read back unchanged, and only for its gateway."""
    kept = made()
    FileSessionStore(tmp_path, GATEWAY).save(kept)

    assert FileSessionStore(tmp_path, GATEWAY).load() == kept
    assert FileSessionStore(tmp_path, "http://127.0.0.1:8001").load() is None
    assert json.loads(FileSessionStore(tmp_path, GATEWAY).path.read_text())["gateway"] == GATEWAY


def test_similar_addresses(tmp_path: Path) -> None:
    """Two gateways never share a file, however similar their addresses are."""
    addresses = ["http://h:1", "https://h:1", "http://h-1", "http://h/1", "http://h"]

    assert len({FileSessionStore(tmp_path, address).path for address in addresses}) == len(addresses)
    assert all(FileSessionStore(tmp_path, address).path.parent == tmp_path for address in addresses)


def test_a_leftover_draft(tmp_path: Path) -> None:
    """The file is private even if a leftover draft has another mode."""
    session_store = FileSessionStore(tmp_path, GATEWAY)
    draft = session_store.path.with_name(f".{session_store.path.name}.{os.getpid()}")
    draft.touch(mode=0o666)
    draft.chmod(0o666)

    session_store.save(made())

    assert session_store.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"session": {}}', '{"session": {"user": {}}}'])
def test_malformed_file(tmp_path: Path, text: str) -> None:
    """A file without a valid session counts as none."""
    session_store = FileSessionStore(tmp_path, GATEWAY)
    session_store.path.write_text(text)
    session_store.path.chmod(0o600)

    assert session_store.load() is None


def test_file_that_other_users_may_read(tmp_path: Path) -> None:
    """A file that other users may read raises."""
    session_store = FileSessionStore(tmp_path, GATEWAY)
    session_store.save(made())
    session_store.path.chmod(0o640)

    with pytest.raises(Misconfigured, match="other users may read"):
        session_store.load()


async def test_exclusive(tmp_path: Path) -> None:
    """Two concurrent refreshes take turns, also with separate session stores."""
    inside: list[int] = []

    async def renew(session_store: FileSessionStore) -> None:
        async with session_store.exclusive():
            inside.append(1)
            assert len(inside) == 1
            await asyncio.sleep(0)
            inside.pop()

    await asyncio.gather(*[renew(FileSessionStore(tmp_path, GATEWAY)) for _ in range(5)])


async def test_exclusive_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that is never released raises after a limited wait."""
    monkeypatch.setattr(session, "LOCK_SECONDS_MAX", 0.1)
    async with FileSessionStore(tmp_path, GATEWAY).exclusive():
        with pytest.raises(Misconfigured, match="another payflow command"):
            async with FileSessionStore(tmp_path, GATEWAY).exclusive():
                pass
