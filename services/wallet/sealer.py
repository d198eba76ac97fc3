"""The sealer: seals unsealed rows in blocks, every second, and runs the proof of the whole ledger periodically.

It locks nothing that a post needs. Two concurrent sealers do no harm, and neither does a killed one: a block is one row of one
commit, and unsealed rows are found again.
"""

from __future__ import annotations

import math
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

HEAD_LOG_SECONDS = 300.0
"""How often the newest block is logged, out of reach of an attacker who rewrites the database."""

THOROUGH_PASSES = 10
"""One of so many passes also finds outcomes that committed late, and accounts."""

WORK_SHARE = 20
"""Work that reads whole tables pauses at least so many times its duration: it uses at most a twentieth of a processor."""

PROOF_SHARE = 40
WHOLE_PROOF_SHARE = 100
"""Likewise for runs of the proof, and for those that compare all blocks: together less than 4 % of a processor."""

PROOF_PAUSE_SECONDS_MAX = 600.0
"""Shorter than the time after which the proof is reported as late."""

log = structlog.get_logger()


class Pace:
    """Schedules work whose duration grows with the ledger."""

    def __init__(
        self, every_seconds: float, *, work_share: float = WORK_SHARE, pause_seconds_max: float = math.inf
    ) -> None:
        self._every_seconds = every_seconds
        self._work_share = work_share
        self._pause_seconds_max = pause_seconds_max
        self._due = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is due now."""
        return self.wait_seconds == 0

    @property
    def wait_seconds(self) -> float:
        """Seconds until it is due."""
        return max(0.0, self._due - time.monotonic())

    def done(self, started: float) -> None:
        """Record that it started at `started` and has just ended."""
        now = time.monotonic()
        self._due = now + max(self._every_seconds, min(self._work_share * (now - started), self._pause_seconds_max))


class Sealer:
    """Seals rows and runs the proof, in one process."""

    def __init__(self, pool: Pool, runtime: Runtime, *, every_seconds: float, proof_every_seconds: float) -> None:
        """`pool` belongs to the database role `seal`."""
        self._pool = pool
        self._runtime = runtime
        self._every_seconds = every_seconds
        self._thorough = Pace(THOROUGH_PASSES * every_seconds, work_share=0)
        self._accounts = Pace(THOROUGH_PASSES * every_seconds)
        self._proofs = Pace(proof_every_seconds, work_share=PROOF_SHARE, pause_seconds_max=PROOF_PAUSE_SECONDS_MAX)
        self._whole_proofs = Pace(proof_every_seconds, work_share=WHOLE_PROOF_SHARE)
        self._has_more = False
        self._head: Head | None = None
        self._logged: Head | None = None
        self._log_at = 0.0
        self._complete_at = time.monotonic()
        metrics.SEAL_LAG.set_function(lambda: time.monotonic() - self._complete_at)

    async def run(self) -> None:
        """Seal until the role stops."""
        while not self._runtime.stopping.is_set():
            more = False
            try:
                more = await self.seal()
            except (DatabaseUnavailable, LockTimeout) as error:
                log.warning("sealing_delayed", reason=str(error))
            except HeadLost as lost:
                log.error("seal_head_lost", head=str(lost))  # noqa: TRY400 - a traceback would not help
            except Exception:
                # The tables may have been tampered with: an error here must not stop the proof, which reports it.
                log.exception("sealing_failed")
            await self._runtime.pause(0.0 if more else self._every_seconds)

    async def seal(self) -> bool:
        """Seal one block, if there are unsealed rows; whether there are more.

        Raises:
            HeadLost: the newest block seen by this process or the last proof is missing. Nothing more is sealed.
            DatabaseUnavailable, LockTimeout: a block may be sealed or not.
        """
        if self._head is None:
            last = await commands.find_last_proof(self._pool)
            self._head = last.head if last else None
        started = time.monotonic()
        # Rows that did not fit into the last block may be too old for a pass that is not thorough.
        thorough, with_accounts = self._has_more or self._thorough.is_due, self._accounts.is_due
        sealed = await commands.seal_rows(
            self._pool, recorded_head=self._head, thorough=thorough, with_accounts=with_accounts
        )
        self._has_more = sealed.more
        if thorough and not sealed.more:
            self._thorough.done(started)
        if with_accounts and not sealed.more:
            self._accounts.done(started)
        self._observe(sealed, started)
        return sealed.more

    async def prove(self) -> None:
        """Run the proof periodically and store each run, until the role stops."""
        while not self._runtime.stopping.is_set():
            started, whole = time.monotonic(), self._whole_proofs.is_due
            try:
                await commands.record_proof(self._pool, await proof.verify(self._pool, whole=whole))
                chassis_metrics.JOB_LAST_SUCCESS.labels(PROOF_JOB).set_to_current_time()
                if whole:
                    self._whole_proofs.done(started)
            except (DatabaseUnavailable, LockTimeout) as error:
                log.warning("proof_delayed", reason=str(error))
            except Exception:
                # A stored run that cannot be read, for instance. Sealing continues; whether the ledger is correct is unknown.
                log.exception("proof_not_run")
                metrics.PROVED.set(False)
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
        if self._head != self._logged and time.monotonic() >= self._log_at:
            log.info("seal_head_recorded", head=str(self._head))
            self._logged, self._log_at = self._head, time.monotonic() + HEAD_LOG_SECONDS
