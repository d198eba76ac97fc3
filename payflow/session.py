"""The session of one user at one gateway, and where it is stored.

A program stores it in memory; the command line in a file below the configuration folder, readable by its owner only.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

from payflow.errors import Misconfigured

LOCK_SECONDS_MAX = 20.0
LOCK_POLL_SECONDS = 0.05

_REFRESHED_AFTER = 0.9
_OTHERS_MAY = 0o077


@dataclass(frozen=True, slots=True)
class User:
    """A user; `totp` is whether a second factor is enabled."""

    id: str
    email: str
    name: str
    role: str
    email_verified: bool = False
    totp: bool = False

    @property
    def is_operator(self) -> bool:
        """Whether the user has the role `operator`."""
        return self.role == "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The tokens of one session. `renew_at` is when to refresh them, in Unix seconds: a little before they expire."""

    user: User
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    renew_at: float

    @property
    def is_due(self) -> bool:
        """Whether the access token is about to expire."""
        return time.time() >= self.renew_at

    @classmethod
    def granted(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's response to a login, a registration or a refresh."""
        return cls(
            user=_user(document["user"]),
            access_token=document["access_token"],
            refresh_token=document["refresh_token"],
            renew_at=time.time() + _REFRESHED_AFTER * float(document["expires_in"]),
        )


class SessionStore(Protocol):
    """Where a session is stored."""

    def load(self) -> Session | None:
        """The current session."""

    def save(self, session: Session | None) -> None:
        """Replace the session; None removes it."""

    def exclusive(self) -> AbstractAsyncContextManager[None]:
        """A lock for refreshing the session: a refresh token can be used once, so two tasks must never use the same one."""


class MemorySessionStore:
    """A session in memory, which ends with the program."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._lock = asyncio.Lock()

    def load(self) -> Session | None:
        """The current session."""
        return self._session

    def save(self, session: Session | None) -> None:
        """Replace the session; None removes it."""
        self._session = session

    def exclusive(self) -> AbstractAsyncContextManager[None]:
        """One task at a time."""
        return self._lock


class FileSessionStore:
    """A session in a file, one for each gateway, shared by all commands of one user."""

    def __init__(self, folder: Path, gateway: str) -> None:
        """`folder` and the file are created with the first session."""
        self._gateway = gateway
        self.path = folder / f"{_file_name(gateway)}.json"

    def load(self) -> Session | None:
        """The current session; None if there is none, or the file has no valid one.

        Raises:
            Misconfigured: the file cannot be read, or other users may read it.
        """
        try:
            with self.path.open(encoding="utf-8") as file:
                if os.fstat(file.fileno()).st_mode & _OTHERS_MAY:
                    raise Misconfigured(f"other users may read {self.path}: remove it and log in again")
                document = json.load(file)
            return Session(**{**document["session"], "user": _user(document["session"]["user"])})
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Misconfigured(f"cannot read {self.path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def save(self, session: Session | None) -> None:
        """Replace the session atomically; None removes the file.

        Raises:
            Misconfigured: the file cannot be written.
        """
        try:
            if session is None:
                self.path.unlink(missing_ok=True)
            else:
                self._write(json.dumps({"gateway": self._gateway, "session": asdict(session)}, indent=2) + "\n")
        except OSError as error:
            raise Misconfigured(f"cannot store the session in {self.path}: {error.strerror}") from error

    @contextlib.asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """One task of one process at a time.

        Raises:
            Misconfigured: the lock file cannot be opened, or is not free within 20 s.
        """
        lock = self.path.with_suffix(".lock")
        try:
            self._make_folder()
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Misconfigured(f"cannot lock {lock}: {error.strerror}") from error
        try:
            await _lock(descriptor, lock)
            yield
        finally:
            os.close(descriptor)

    def _write(self, text: str) -> None:
        self._make_folder()
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                # The mode above applies only to a new file: a leftover draft may have another.
                os.fchmod(file.fileno(), 0o600)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    def _make_folder(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)


async def _lock(descriptor: int, path: Path) -> None:
    ends_at = time.monotonic() + LOCK_SECONDS_MAX
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > ends_at:
                raise Misconfigured(f"another payflow command holds {path}") from None
            await asyncio.sleep(LOCK_POLL_SECONDS)
        else:
            return


def _user(document: Mapping[str, Any]) -> User:
    # Sessions stored by an earlier version lack email_verified and totp.
    verified, totp = bool(document.get("email_verified", False)), bool(document.get("totp", False))
    return User(document["id"], document["email"], document["name"], document["role"], verified, totp)


def _file_name(gateway: str) -> str:
    # The host is for readers of the folder; the digest distinguishes addresses with the same host.
    readable = re.sub(r"[^A-Za-z0-9.-]", "-", urlsplit(gateway).netloc)
    return f"{readable}-{hashlib.sha256(gateway.encode()).hexdigest()[:12]}"
