"""Requested runs of the proof, one at a time: each works in steps, and its progress is recorded every second."""

from __future__ import annotations

import asyncio

import structlog

from services.chassis.database import DatabaseUnavailable, LockTimeout, Pool
from services.wallet import commands_proof_run, proof
from services.wallet.seal import Head
from services.wallet.store import Proof
from services.wallet.store_proof_run import Progress, ProofRun

PROGRESS_SECONDS = 1.0
"""How often the progress is recorded; much shorter than the time after which a silent run counts as abandoned."""

log = structlog.get_logger()


class ProofRunner:
    """Works on the runs that were requested from this process."""

    def __init__(self, pool: Pool, proof_pool: Pool, *, instance: str) -> None:
        """`pool` may write runs; `proof_pool` may read everything."""
        self._pool = pool
        self._proof_pool = proof_pool
        self._instance = instance
        self._requested: asyncio.Queue[ProofRun] = asyncio.Queue()

    async def start(self, *, whole: bool, required: Head | None) -> tuple[ProofRun, bool]:
        """Start a run, or return the running one of any process; and whether it is new; as `commands_proof_run.start_run`."""
        run, is_new = await commands_proof_run.start_run(
            self._pool, whole=whole, required=required, instance=self._instance
        )
        if is_new:
            self._requested.put_nowait(run)
        return run, is_new

    async def run(self) -> None:
        """Work on requested runs until cancelled. The run in progress is abandoned then, visibly."""
        while True:
            await self._work(await self._requested.get())

    async def _work(self, run: ProofRun) -> None:
        progress = Progress()
        result: Proof | None = None
        try:
            result = await self._prove(run, progress)
        except (DatabaseUnavailable, LockTimeout) as error:
            log.warning("proof_run_abandoned", run_id=str(run.id), reason=str(error))
        except Exception:
            # The tables may have been tampered with; the process has other work.
            log.exception("proof_run_abandoned", run_id=str(run.id))
        finally:
            # Also when this process stops. If the database is unavailable, the silence of the run shows that it was abandoned.
            try:
                await commands_proof_run.end_run(self._pool, run, result, progress=progress)
            except (DatabaseUnavailable, LockTimeout) as error:
                log.warning("proof_run_not_ended", run_id=str(run.id), reason=str(error))

    async def _prove(self, run: ProofRun, progress: Progress) -> Proof | None:
        """Verify, and record the progress meanwhile; None if the run was declared abandoned."""
        proving = asyncio.create_task(proof.verify(self._proof_pool, run.required, whole=run.whole, progress=progress))
        try:
            while True:
                await asyncio.wait({proving}, timeout=PROGRESS_SECONDS)
                if proving.done():
                    return await proving
                if not await self._is_running(run, progress):
                    return None
        finally:
            proving.cancel()

    async def _is_running(self, run: ProofRun, progress: Progress) -> bool:
        try:
            return await commands_proof_run.update_progress(self._pool, run.id, progress)
        except (DatabaseUnavailable, LockTimeout):
            return True
