"""Password hashing: argon2id with a named profile, in dedicated threads behind a short queue."""

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
from services.contracts import limits
from services.contracts.refusals.auth import TooManyLogins

WORKERS = max(1, (os.cpu_count() or 1) // 2)
"""Threads: half of the cores. A hash evicts the cache of its core for 20 ms; the other cores stay unaffected."""

WAITING_MAX = 56
"""How many hashes can wait for a thread: one or two seconds of work on one busy core.

Together with those being computed, fewer than the connections of a gateway to this service: otherwise the rest of a burst
would wait for a connection and be rejected late, instead of at once by this limit.
"""

WAIT_SECONDS_MAX = 4.0
"""How long a hash can have waited when its thread is free. On a slow machine, the rest is rejected before callers time out."""

NICENESS = 10
"""Hashing uses whole cores, so everything else has priority; on a machine that is busy otherwise, a hash still gets about a
tenth of a core."""

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
"""If it changes, each password is rehashed at the next login of its user."""

Result = TypeVar("Result")


class Hashing:
    """Hashes and verifies off the event loop. With more than `waiting_max` in the queue, a call is rejected."""

    def __init__(
        self, profile: Parameters = PROFILE, *, workers: int = WORKERS, waiting_max: int = WAITING_MAX
    ) -> None:
        self._hasher = PasswordHasher.from_parameters(profile)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="password", initializer=_lower_priority)
        self._pending_max = workers + waiting_max
        self._pending = 0
        # Of a random password: a login with an unknown address is verified against it, at the same cost as any other.
        self._decoy = self._hasher.hash(secrets.token_urlsafe(16))

    async def hash(self, password: str) -> str:
        """Hash a password; the result includes the salt and the profile.

        Raises:
            TooManyLogins: too many hashes are waiting.
        """
        return await self._run(lambda: self._hasher.hash(canonical(password)))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password matches the stored hash; False, after the same work, if `stored` is None.

        Raises:
            TooManyLogins: too many hashes are waiting.
        """
        matches = await self._run(lambda: self._matches(stored or self._decoy, password))
        return matches and stored is not None

    def is_behind(self, stored: str) -> bool:
        """Whether the hash was made with another profile than the current one."""
        return self._hasher.check_needs_rehash(stored)

    def close(self) -> None:
        """Stop the threads; waiting hashes are cancelled."""
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


def _lower_priority() -> None:
    # Linux has a priority for each thread, so the event loop keeps its own. Without the permission, the priority stays normal.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _unless_late(work: Callable[[], Result], deadline: float) -> Result:
    if time.monotonic() > deadline:
        raise _busy()
    return work()


def _busy() -> TooManyLogins:
    metrics.HASHES_REFUSED.inc()
    return TooManyLogins(retry_after_seconds=secrets.choice(limits.TOO_MANY_LOGINS_RETRY_SECONDS))


def canonical(password: str) -> str:
    """The normal form, which is measured and hashed.

    Keyboards send "é" as one character or as two: both are the same password (RFC 8265, OpaqueString).
    """
    return unicodedata.normalize("NFC", password)
