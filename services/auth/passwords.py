"""Passwords: argon2id under a named profile, in a few threads of its own with a short queue before them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import threading
import time
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import Parameters, PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from services.auth import metrics
from services.auth.errors import TooManyLogins

LENGTH_MIN = 8
LENGTH_MAX = 200

WORKERS = max(1, (os.cpu_count() or 1) // 2)
"""Threads: half of the cores. A hash fills a core's cache for its 20 ms; on the other half the rest goes on as ever."""

WAITING_MAX = 56
"""How many may wait for a thread: a second or two of work on one busy core.

With those at work fewer than a gateway has connections to here: else the rest of a crowd would wait for a connection, and be
refused late and all together, instead of here and at once.
"""

WAIT_SECONDS_MAX = 4.0
"""How long one may have waited when its turn comes: on a slower machine the rest is told to come back before callers give up."""

NICENESS = 10
"""Hashing takes whole cores for as long as people log in. Everything else goes first; against a machine that is busy with other
things a hash still gets about a tenth of a core."""

RETRY_AFTER_SECONDS = range(2, 7)
"""When to come back: one of these each, or all who were refused together would come back together, again and again."""

OWASP_19_MIB = Parameters(
    type=Type.ID,
    version=19,
    salt_len=16,
    hash_len=32,
    time_cost=2,
    memory_cost=19 * 1024,
    parallelism=1,
)
"""The OWASP Password Storage Cheat Sheet's argon2id with 19 MiB; `memory_cost` is in KiB."""

PROFILE = OWASP_19_MIB
"""Change it, and every password moves to the new profile at its owner's next login."""

Result = TypeVar("Result")


class Hashing:
    """Hashes and verifies off the event loop. More than `waiting_max` in the queue are told to come back."""

    def __init__(
        self, profile: Parameters = PROFILE, *, workers: int = WORKERS, waiting_max: int = WAITING_MAX
    ) -> None:
        self._hasher = PasswordHasher.from_parameters(profile)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="password", initializer=_step_back)
        self._pending_max = workers + waiting_max
        self._pending = 0
        # Nobody's password: what a login with an unknown address is verified against, at the same cost as any other.
        self._nobody = self._hasher.hash(secrets.token_urlsafe(16))

    async def hash(self, password: str) -> str:
        """The hash to store, with its own salt and the profile written into it.

        Raises:
            TooManyLogins: too many are waiting already.
        """
        return await self._run(lambda: self._hasher.hash(canonical(password)))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password is the one that was hashed; with nothing stored False, after the same work.

        Raises:
            TooManyLogins: too many are waiting already.
        """
        matches = await self._run(lambda: self._matches(stored or self._nobody, password))
        return matches and stored is not None

    def is_behind(self, stored: str) -> bool:
        """Whether the hash was made under another profile than today's."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        """End the threads; what still waits is dropped."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, canonical(password))
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], Result]) -> Result:
        if self._pending >= self._pending_max:
            raise _busy()
        self._pending += 1
        metrics.HASHES_WAITING.inc()
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, _unless_late, work, deadline)
        finally:
            self._pending -= 1
            metrics.HASHES_WAITING.dec()


def _step_back() -> None:
    # Linux keeps priorities by thread, so this leaves the event loop's as it is. Where it cannot be, hashing is just as urgent.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _unless_late(work: Callable[[], Result], deadline: float) -> Result:
    if time.monotonic() > deadline:
        raise _busy()
    return work()


def _busy() -> TooManyLogins:
    metrics.HASHES_REFUSED.inc()
    return TooManyLogins(retry_after_seconds=secrets.choice(RETRY_AFTER_SECONDS))


def canonical(password: str) -> str:
    """The form that is measured and hashed.

    One keyboard sends "é" as one character, another as two: both are the same password (RFC 8265, OpaqueString).
    """
    return unicodedata.normalize("NFC", password)
