"""The sealer: every second what is in no block goes into one, and from time to time the whole ledger is proved.

Nothing that a post needs is ever locked. Two sealers at once do no harm, and neither does one that is killed: a block is one
row of one commit, and what is in none is found again.
"""

from __future__ import annotations

import time

import structlog

from services.chassis import metrics as chassis_metrics
from services.chassis.database import DatabaseUnavailable, LockTimeout, Pool
from services.chassis.roles import Runtime
from services.wallet import commands, metrics, proof
from services.wallet.commands import Sealed
from services.wallet.seal import Head, HeadLost

SEAL_JOB = "seal"
PROOF_JOB = "proof"

NOTE_SECONDS = 300.0
"""How often the newest block is written to the log, where nobody who rewrites the database can reach it."""

THOROUGH_PASSES = 10
"""One pass of so many looks for outcomes that committed late, and for accounts."""

WORK_SHARE = 20
"""What reads whole tables pauses at least so many times as long as it took: a twentieth of a processor at most."""

log = structlog.get_logger()


class Pace:
    """When something that grows with the ledger may be done again."""

    def __init__(self, every_seconds: float, *, work_share: float = WORK_SHARE) -> None:
        self._every_seconds = every_seconds
        self._work_share = work_share
        self._due = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it may be done now."""
        return self.wait_seconds == 0

    @property
    def wait_seconds(self) -> float:
        """How long until it is due."""
        return max(0.0, self._due - time.monotonic())

    def done(self, started: float) -> None:
        """It was begun at `started` and has ended just now."""
        now = time.monotonic()
        self._due = now + max(self._every_seconds, self._work_share * (now - started))


class Sealer:
    """One process that seals."""

    def __init__(self, pool: Pool, runtime: Runtime, *, every_seconds: float, proof_every_seconds: float) -> None:
        """`pool` is the seal role's."""
        self._pool = pool
        self._runtime = runtime
        self._every_seconds = every_seconds
        self._thorough = Pace(THOROUGH_PASSES * every_seconds, work_share=0)
        self._accounts = Pace(THOROUGH_PASSES * every_seconds)
        self._proofs = Pace(proof_every_seconds)
        self._behind = False
        self._head: Head | None = None
        self._told: Head | None = None
        self._tell_at = 0.0
        self._complete_at = time.monotonic()
        metrics.SEAL_LAG.set_function(lambda: time.monotonic() - self._complete_at)

    async def run(self) -> None:
        """Seal until told to stop."""
        while not self._runtime.stopping.is_set():
            more = False
            try:
                more = await self.seal()
            except (DatabaseUnavailable, LockTimeout) as trouble:
                log.warning("sealing_waits", reason=str(trouble))
            except HeadLost as lost:
                log.error("seal_head_lost", head=str(lost))  # noqa: TRY400 - no trace helps
            except Exception:
                # Whatever somebody did to the tables: what cannot be sealed must not end the proof, which tells of it.
                log.exception("sealing_failed")
            await self._runtime.pause(0.0 if more else self._every_seconds)

    async def seal(self) -> bool:
        """One block, if there is anything to seal; whether there is more.

        Raises:
            HeadLost: the newest block that this process, or the last proof, has seen is gone. It seals no more.
            DatabaseUnavailable, LockTimeout: a block may be sealed or not.
        """
        if self._head is None:
            last = await commands.find_last_proof(self._pool)
            self._head = last.head if last else None
        started = time.monotonic()
        # What did not fit into a block may be older than a pass that is not thorough looks.
        thorough, with_accounts = self._behind or self._thorough.is_due, self._accounts.is_due
        sealed = await commands.seal_rows(self._pool, noted=self._head, thorough=thorough, with_accounts=with_accounts)
        self._behind = sealed.more
        if thorough and not sealed.more:
            self._thorough.done(started)
        if with_accounts and not sealed.more:
            self._accounts.done(started)
        self._observe(sealed, started)
        return sealed.more

    async def prove(self) -> None:
        """Prove the whole ledger from time to time, and keep the round, until told to stop."""
        while not self._runtime.stopping.is_set():
            started = time.monotonic()
            try:
                await commands.record_proof(self._pool, await proof.verify(self._pool))
                chassis_metrics.JOB_LAST_SUCCESS.labels(PROOF_JOB).set_to_current_time()
            except (DatabaseUnavailable, LockTimeout) as trouble:
                log.warning("proof_waits", reason=str(trouble))
            self._proofs.done(started)
            await self._runtime.pause(self._proofs.wait_seconds)

    def _observe(self, sealed: Sealed, started: float) -> None:
        chassis_metrics.JOB_LAST_SUCCESS.labels(SEAL_JOB).set_to_current_time()
        if not sealed.more:
            self._complete_at = started
        if sealed.head is None:
            return
        if sealed.outcomes or sealed.accounts:
            metrics.SEALED_BLOCKS.inc()
        self._head = sealed.head
        metrics.SEAL_HEAD.set(sealed.head.number)
        if self._head != self._told and time.monotonic() >= self._tell_at:
            log.info("seal_head_recorded", head=str(self._head))
            self._told, self._tell_at = self._head, time.monotonic() + NOTE_SECONDS
