"""Notifies senders once of a transfer that takes longer than expected: their money is safe, the outcome follows."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import structlog

from services.chassis.client import Upstream
from services.chassis.database import LockTimeout, Pool
from services.chassis.roles import Runtime
from services.contracts.messages import format_time
from services.contracts.refusal import OutcomeUnknown, Unavailable
from services.contracts.transfer_kinds import KINDS
from services.notification import commands_late
from services.notification.feed import LateTransfer
from services.notification.store import BEGINNING
from services.notification.wakeup import FeedWakeup

EVERY_SECONDS = 1.0
PAGE_MAX = 500
OVERLAP = timedelta(seconds=5)
"""How far back each pass begins: a transfer may become visible after it was expected to be final."""

CALL_SECONDS = 5.0

log = structlog.get_logger()


class LatePoller:
    """Polls PENDING transfers that are later than expected. Several may run: each transfer has one such notification."""

    def __init__(self, pool: Pool, transaction: Upstream, wakeup: FeedWakeup) -> None:
        self._pool = pool
        self._transaction = transaction
        self._wakeup = wakeup
        self._after = BEGINNING.at
        self._recorded: dict[UUID, datetime] = {}

    async def run(self, runtime: Runtime) -> None:
        """A pass every second until the role stops."""
        while not runtime.stopping.is_set():
            try:
                await self.poll()
            except (Unavailable, OutcomeUnknown, LockTimeout) as error:
                log.debug("late_transfers_not_recorded", reason=str(error))
            except Exception:
                # Consuming messages goes on.
                log.exception("late_poll_failed")
            await runtime.pause(EVERY_SECONDS)

    async def poll(self) -> None:
        """One pass over the transfers that have become late.

        Raises:
            Refusal, LockTimeout: something is unavailable or locked; the next pass starts from the same position.
        """
        after = self._after
        while True:
            response = await self._transaction.call(
                "GET",
                "/internal/late",
                params={"expected_after": format_time(after), "limit": str(PAGE_MAX)},
                seconds=CALL_SECONDS,
            )
            found = [_late(item) for item in response["items"]]
            silent = {UUID(item["id"]) for item in response["items"] if not KINDS[item["kind"]].notifies_sender}
            await self._record([late for late in found if late.id not in silent | self._recorded.keys()])
            self._recorded |= {late.id: late.expected_by for late in found}
            if not found or found[-1].expected_by == after:
                break
            after = found[-1].expected_by
            if len(found) < PAGE_MAX:
                break
        self._after = max(self._after, after - OVERLAP)
        self._recorded = {id_: at for id_, at in self._recorded.items() if at >= self._after}

    async def _record(self, transfers: list[LateTransfer]) -> None:
        if transfers:
            self._wakeup.notify(await commands_late.record_late(self._pool, transfers))


def _late(item: dict[str, object]) -> LateTransfer:
    return LateTransfer(
        id=UUID(str(item["id"])),
        sender_id=UUID(str(item["sender_id"])),
        amount=int(str(item["amount"])),
        currency=str(item["currency"]),
        description=None if item["description"] is None else str(item["description"]),
        expected_by=datetime.fromisoformat(str(item["expected_by"])),
        expires_at=datetime.fromisoformat(str(item["expires_at"])),
    )
