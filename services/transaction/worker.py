"""The worker: one window of commands, one call to the wallet, one commit of what it said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from services.chassis.consumer import DeadLetter, Delivery, Retry, Verdict
from services.chassis.database import LockTimeout, Pool
from services.contracts.messages import TransferCommand, format_time
from services.contracts.refusal import Refusal, Unavailable
from services.transaction import commands
from services.transaction.store import Told
from services.transaction.wallet_client import WalletAnswer, WalletClient

CONFLICT = "conflict"
RETRY = "retry"
BEAT_SECONDS = 1.0
MALFORMED = frozenset({400, 413, 422})
"""What the wallet says when something in the list itself is wrong: then the window is halved until it stands alone."""

log = structlog.get_logger()


class Worker:
    """Carries out commands. Everything here may happen twice: the wallet and the status update both know the id."""

    def __init__(self, pool: Pool, wallet: WalletClient, instance: str) -> None:
        self._pool = pool
        self._wallet = wallet
        self._instance = instance
        self.finalized = 0
        self.wallet_unavailable = False

    async def on_transfers_requested(self, window: Sequence[Delivery[TransferCommand]]) -> list[Verdict]:
        """Post a window and record what the wallet said; the verdict of each delivery.

        Raises:
            Unavailable: the wallet or the database is away, or gave no answer: unknown, never failed. Nothing of the
                window is acknowledged.
        """
        picked_up_at = datetime.now(UTC)
        try:
            answers = await self._wallet.post([delivery.item for delivery in window])
        except Refusal as refusal:
            if refusal.status in MALFORMED:
                raise
            # Away, silent, broken or not knowing this worker's key: no fault of any transfer, and unknown, never failed.
            self.wallet_unavailable = True
            await self._note(window, picked_up_at)
            raise Unavailable(refusal.detail) from refusal
        self.wallet_unavailable = False
        try:
            moved = await self._record(window, answers, picked_up_at)
        except LockTimeout as held:
            # Somebody else is settling some of these: nobody's failure, and worth no attempt.
            raise Unavailable("the transfers are held by somebody else") from held
        log.info("window_finalized", items=len(window), moved=moved)
        return [_verdict(answer) for answer in answers]

    async def _record(
        self, window: Sequence[Delivery[TransferCommand]], answers: Sequence[WalletAnswer], picked_up_at: datetime
    ) -> int:
        told = {
            answer.transfer_id: Told(
                answer.transfer_id, answer.outcome, answer.reason, answer.at, self._attempt(delivery, picked_up_at)
            )
            for delivery, answer in zip(window, answers, strict=True)
            if answer.at is not None
        }
        moved = await commands.finalize_transfers(self._pool, list(told.values()))
        self.finalized += moved
        conflicts = [answer.transfer_id for answer in answers if answer.outcome == CONFLICT]
        if conflicts:
            await commands.mark_conflicted(self._pool, conflicts)
        return moved

    async def beat(self) -> None:
        """Tell the others, every second, that this worker is alive and how much it has finalized."""
        while True:
            try:
                await commands.beat(self._pool, self._instance, self._state())
            except (Unavailable, LockTimeout):
                log.debug("heartbeat_missed")
            await asyncio.sleep(BEAT_SECONDS)

    def _state(self) -> dict[str, object]:
        return {"role": "worker", "finalized": self.finalized, "wallet_unavailable": self.wallet_unavailable}

    async def _note(self, window: Sequence[Delivery[TransferCommand]], picked_up_at: datetime) -> None:
        attempts = {delivery.item.transfer_id: self._attempt(delivery, picked_up_at) for delivery in window}
        try:
            await commands.note_attempts(self._pool, attempts)
        except LockTimeout:
            log.debug("attempt_not_noted")

    def _attempt(self, delivery: Delivery[TransferCommand], picked_up_at: datetime) -> str:
        return json.dumps(
            {
                "number": delivery.attempt,
                "worker": self._instance,
                "redelivered": delivery.redelivered,
                "queued_at": format_time(delivery.sent_at),
                "picked_up_at": format_time(picked_up_at),
            }
        )


def _verdict(answer: WalletAnswer) -> Verdict:
    if answer.outcome == CONFLICT:
        return DeadLetter(CONFLICT)
    if answer.outcome == RETRY:
        return Retry("wallet_busy")
    return None
