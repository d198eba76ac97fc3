"""Start, follow and end requested runs of the proof: one database transaction per function."""

from __future__ import annotations

from uuid import UUID

from services.chassis import database, replication
from services.chassis.database import Pool
from services.contracts.identifiers import new_id
from services.contracts.refusals.wallet import ProofRunning, ProofRunNotFound
from services.wallet import store, store_proof_run
from services.wallet.seal import Head
from services.wallet.store import Proof
from services.wallet.store_proof_run import Progress, ProofRun


async def start_run(pool: Pool, *, whole: bool, required: Head | None, instance: str) -> tuple[ProofRun, bool]:
    """Start a run of the proof, or return the running one if it checks at least as much; and whether it is new.

    Raises:
        ProofRunning: the running one checks less, or another required block.
    """
    while True:
        run_id = new_id()
        async with database.transaction(pool) as connection:
            is_new = await store_proof_run.insert_run(
                connection, run_id, whole=whole, required=required, instance=instance
            )
            if is_new:
                run = await store_proof_run.find_run(connection, run_id)
            else:
                run = await store_proof_run.find_running(connection)
                await replication.await_replication(connection)
        # The running one may have ended between the two statements.
        if run is not None:
            break
    if not is_new and (run.required != required or (whole and not run.whole)):
        raise ProofRunning
    return run, is_new


async def get_run(pool: Pool, run_id: UUID) -> ProofRun:
    """A requested run and its progress.

    Raises:
        ProofRunNotFound
    """
    async with database.connection(pool) as connection:
        run = await store_proof_run.find_run(connection, run_id)
    if run is None:
        raise ProofRunNotFound
    return run


async def update_progress(pool: Pool, run_id: UUID, progress: Progress) -> bool:
    """Record how far a run is; False if it is not running any more."""
    async with database.transaction(pool) as connection:
        return await store_proof_run.update_progress(connection, run_id, progress)


async def end_run(pool: Pool, run: ProofRun, proof: Proof | None, *, progress: Progress) -> None:
    """End a run with its result, which becomes the last proof; None: it is abandoned.

    Nothing changes if it is not running any more. Whether the required block of one caller is found concerns that caller, not the
    state of the ledger: such a run is the last proof only if another check failed.
    """
    async with database.transaction(pool) as connection:
        is_ended = await store_proof_run.end_run(connection, run.id, proof, progress=progress)
        if is_ended and proof is not None and proof.is_stored(run.required):
            await store.upsert_last_proof(connection, proof)
