"""The worker: one window of commands, one call to the wallet, one commit of the outcomes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from services.chassis.consumer import DeadLetter, Delivery, Retry, Verdict
from services.chassis.database import LockTimeout, Pool
from services.contracts.messages import TransferCommand, format_time
from services.contracts.refusal import Refusal, Unavailable
from services.transaction import commands, commands_heartbeats, metrics
from services.transaction.store import WalletResult
from services.transaction.wallet_client import WalletClient, WalletResponse

CONFLICT = "conflict"
RETRY = "retry"
HEARTBEAT_SECONDS = 1.0
MALFORMED = frozenset({400, 413, 422})
"""Statuses for a malformed command in the window: the window is then halved until that command is alone."""

log = structlog.get_logger()


class Worker:
    """Carries out commands. Each may be delivered twice: the wallet and the status update recognize the transfer id."""

    def __init__(self, pool: Pool, wallet: WalletClient, instance: str) -> None:
        self._pool = pool
        self._wallet = wallet
        self._instance = instance
        self.finalized = 0
        self.wallet_unavailable = False

    async def on_transfers_requested(self, window: Sequence[Delivery[TransferCommand]]) -> list[Verdict]:
        """Post a window and record the outcomes; returns the verdict on each delivery.

        Raises:
            Unavailable: the wallet or the database is unavailable or did not respond: the outcomes are unknown. Nothing of
                the window is acknowledged.
        """
        picked_up_at = datetime.now(UTC)
        _observe_hops(window, picked_up_at)
        try:
            responses = await self._wallet.post([delivery.item for delivery in window])
        except Refusal as refusal:
            if refusal.status in MALFORMED:
                raise
            # Unavailable, silent, broken or rejecting this worker's key: not the fault of a transfer. The outcomes are unknown.
            self.wallet_unavailable = True
            await self._record_attempts(window, picked_up_at)
            raise Unavailable(refusal.detail) from refusal
        self.wallet_unavailable = False
        try:
            moved = await self._record(window, responses, picked_up_at)
        except LockTimeout as held:
            # Another process is finalizing some of these: not a failed attempt.
            raise Unavailable("the transfers are locked by another process") from held
        log.info("window_finalized", items=len(window), moved=moved)
        return [_verdict(response) for response in responses]

    async def _record(
        self, window: Sequence[Delivery[TransferCommand]], responses: Sequence[WalletResponse], picked_up_at: datetime
    ) -> int:
        attempts = self._attempts(window, picked_up_at)
        results = {
            one.transfer_id: WalletResult(one.transfer_id, one.outcome, one.reason, one.at, attempt)
            for attempt, one in zip(attempts, responses, strict=True)
            if one.at is not None
        }
        moved = await commands.finalize_transfers(self._pool, list(results.values()))
        self.finalized += moved
        conflicts = [response.transfer_id for response in responses if response.outcome == CONFLICT]
        if conflicts:
            await commands.mark_conflicted(self._pool, conflicts)
        return moved

    async def run_heartbeat(self) -> None:
        """Record every second that this worker is alive, and how many transfers it has finalized."""
        while True:
            try:
                await commands_heartbeats.record_heartbeat(self._pool, self._instance, self._state())
            except (Unavailable, LockTimeout):
                log.debug("heartbeat_missed")
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def _state(self) -> dict[str, object]:
        return {
            "role": "worker",
            "finalized": self.finalized,
            "wallet_unavailable": self.wallet_unavailable,
            "recent_seconds": metrics.COMPLETIONS.recent_seconds(now=time.monotonic()),
        }

    async def _record_attempts(self, window: Sequence[Delivery[TransferCommand]], picked_up_at: datetime) -> None:
        attempts = zip(window, self._attempts(window, picked_up_at), strict=True)
        by_transfer = {delivery.item.transfer_id: attempt for delivery, attempt in attempts}
        try:
            await commands.record_attempts(self._pool, by_transfer)
        except LockTimeout:
            log.debug("attempts_not_recorded")

    def _attempts(self, window: Sequence[Delivery[TransferCommand]], picked_up_at: datetime) -> list[str]:
        """The attempt of each delivery as JSON. All deliveries of one message have the same, so it is encoded once."""
        encoded: dict[tuple[int, bool, datetime], str] = {}
        attempts = []
        for delivery in window:
            key = delivery.attempt, delivery.redelivered, delivery.sent_at
            if key not in encoded:
                encoded[key] = self._attempt(delivery, picked_up_at)
            attempts.append(encoded[key])
        return attempts

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


def _verdict(response: WalletResponse) -> Verdict:
    if response.outcome == CONFLICT:
        return DeadLetter(CONFLICT)
    if response.outcome == RETRY:
        return Retry("wallet_busy")
    return None


def _observe_hops(window: Sequence[Delivery[TransferCommand]], picked_up_at: datetime) -> None:
    """Measure how long the messages of a window waited in the outbox and in the broker, one observation for each message."""
    accepted: dict[datetime, datetime] = {}
    for delivery in window:
        accepted_at = delivery.item.accepted_at
        accepted[delivery.sent_at] = min(accepted_at, accepted.get(delivery.sent_at, accepted_at))
    for sent_at, accepted_at in accepted.items():
        metrics.PUBLISH_WAIT.observe(max(0.0, (sent_at - accepted_at).total_seconds()))
        metrics.PICKUP_WAIT.observe(max(0.0, (picked_up_at - sent_at).total_seconds()))
