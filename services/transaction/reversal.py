"""The reversal: voids each expired PENDING transfer in the wallet, then records the outcome that the wallet returns.

It never decides: for a transfer whose worker died after the ledger commit the wallet returns `posted`, and it becomes COMPLETED.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from uuid import UUID

import structlog

from services.chassis import metrics
from services.chassis.database import LockTimeout, Pool
from services.chassis.roles import Runtime
from services.contracts.refusal import Refusal
from services.transaction import commands, commands_heartbeats
from services.transaction.store import WalletResult
from services.transaction.transfer import TIMED_OUT
from services.transaction.wallet_client import WalletClient

BATCH_MAX = 500
JOB = "reversal"
HEARTBEAT = "transaction-reversal"
"""One for all processes: as a job of a cluster each has another name, and what counts is the last success of any."""


log = structlog.get_logger()


async def void_transfers(pool: Pool, wallet: WalletClient, transfers: Sequence[tuple[UUID, bytes]], reason: str) -> int:
    """Void transfers (id, request hash) in the wallet and record the outcomes; how many changed. Also how a sender cancels.

    Raises:
        Refusal, LockTimeout: the outcomes are not known, or not recorded; call again.
    """
    responses = await wallet.void(transfers, reason)
    results = [WalletResult(one.transfer_id, one.outcome, one.reason, one.at, None) for one in responses if one.at]
    moved = await commands.finalize_transfers(pool, results)
    conflicts = [response.transfer_id for response in responses if response.at is None]
    if conflicts:
        await commands.mark_conflicted(pool, conflicts)
    return moved


async def sweep(pool: Pool, wallet: WalletClient) -> int:
    """One pass over all expired transfers, in batches; how many changed. Raises as `void_transfers` does."""
    moved = 0
    while True:
        stale = await commands.list_stale(pool, BATCH_MAX)
        if stale:
            moved += await void_transfers(pool, wallet, stale, TIMED_OUT)
        if len(stale) < BATCH_MAX:
            return moved


async def run(
    pool: Pool, wallet: WalletClient, runtime: Runtime, *, every_seconds: float, seconds_max: float | None = None
) -> None:
    """A pass every few seconds until the role stops, or for `seconds_max`. Several may run.

    A last pass begins when the time is over, so that a successor that starts late leaves no gap.
    """
    ends_at = math.inf if seconds_max is None else time.monotonic() + seconds_max
    while not runtime.stopping.is_set():
        is_last = time.monotonic() >= ends_at
        try:
            moved = await sweep(pool, wallet)
            await commands_heartbeats.record_heartbeat(pool, HEARTBEAT, {"role": JOB})
            metrics.JOB_LAST_SUCCESS.labels(JOB).set_to_current_time()
            if moved:
                log.warning("stale_transfers_finalized", moved=moved)
        except (Refusal, LockTimeout) as error:
            # The next pass finds the same transfers again: they stay PENDING until they are finalized.
            log.warning("reversal_delayed", reason=str(error))
        if is_last:
            return
        await runtime.pause(min(every_seconds, ends_at - time.monotonic()))
