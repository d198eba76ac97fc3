"""The reversal: each PENDING transfer past its expiry is voided in the wallet, then recorded as what the wallet answered.

It never decides: a transfer whose worker died after the ledger commit is answered `posted`, and becomes COMPLETED.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import structlog

from services.chassis import metrics
from services.chassis.database import LockTimeout, Pool
from services.chassis.roles import Runtime
from services.contracts.refusal import Refusal
from services.transaction import commands
from services.transaction.store import Told
from services.transaction.transfer import TIMED_OUT
from services.transaction.wallet_client import WalletClient

BATCH_MAX = 500
JOB = "reversal"

log = structlog.get_logger()


async def void_transfers(pool: Pool, wallet: WalletClient, transfers: Sequence[tuple[UUID, bytes]], reason: str) -> int:
    """Void these (id, request hash) in the wallet and apply what it answers; how many moved. Also how a sender cancels.

    Raises:
        Refusal, LockTimeout: what the wallet said is not known, or not applied; do it again.
    """
    answers = await wallet.void(transfers, reason)
    told = [Told(answer.transfer_id, answer.outcome, answer.reason, answer.at, None) for answer in answers if answer.at]
    moved = await commands.finalize_transfers(pool, told)
    conflicts = [answer.transfer_id for answer in answers if answer.at is None]
    if conflicts:
        await commands.mark_conflicted(pool, conflicts)
    return moved


async def sweep(pool: Pool, wallet: WalletClient) -> int:
    """One pass over everything stale, in batches; how many transfers moved. Raises as `void_transfers` does."""
    moved = 0
    while True:
        stale = await commands.list_stale(pool, BATCH_MAX)
        if stale:
            moved += await void_transfers(pool, wallet, stale, TIMED_OUT)
        if len(stale) < BATCH_MAX:
            return moved


async def run(pool: Pool, wallet: WalletClient, runtime: Runtime, *, every_seconds: float) -> None:
    """A pass every few seconds until told to stop. Two of these at once do no harm."""
    while not runtime.stopping.is_set():
        try:
            moved = await sweep(pool, wallet)
            await commands.beat(pool, runtime.instance, {"role": JOB})
            metrics.JOB_LAST_SUCCESS.labels(JOB).set_to_current_time()
            if moved:
                log.warning("stale_transfers_finalized", moved=moved)
        except (Refusal, LockTimeout) as trouble:
            # Whatever it is, the next pass finds the same transfers again: they are PENDING until somebody finalizes them.
            log.warning("reversal_waits", reason=str(trouble))
        await runtime.pause(every_seconds)
