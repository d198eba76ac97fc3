"""Records PENDING events of transfers that are not final soon after acceptance.

There is no message for it. Most transfers are final within moments and have no PENDING event. Those that take longer are polled
from the transaction service, so that senders see them while a queue is blocked. One that is final before the next poll has none.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import structlog

from services.chassis.client import Upstream
from services.chassis.database import LockTimeout, Pool
from services.chassis.roles import Runtime
from services.contracts.messages import format_time
from services.contracts.refusal import OutcomeUnknown, Unavailable
from services.notification import commands
from services.notification.feed import PendingTransfer, Transfer
from services.notification.store import BEGINNING
from services.notification.wakeup import FeedWakeup

EVERY_SECONDS = 1.0
PAGE_MAX = 500
OVERLAP = timedelta(seconds=2)
"""How far back each poll begins: transfers become visible in another order than they expire."""

CALL_SECONDS = 5.0

log = structlog.get_logger()


class PendingPoller:
    """Polls pending transfers. Several may run: a key in the inbox lets each line be recorded once."""

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
                log.debug("pending_not_recorded", reason=str(error))
            except Exception:
                # Consuming messages goes on; senders see their transfers when these are final.
                log.exception("pending_poll_failed")
            await runtime.pause(EVERY_SECONDS)

    async def poll(self) -> None:
        """One pass over new PENDING transfers.

        Raises:
            Refusal, LockTimeout: something is unavailable or locked; the next pass starts from the same position.
        """
        after = self._after
        while True:
            response = await self._transaction.call(
                "GET",
                "/internal/pending",
                params={"expires_after": format_time(after), "limit": str(PAGE_MAX)},
                seconds=CALL_SECONDS,
            )
            found = [_pending(item) for item in response["items"]]
            await self._record([pending for pending in found if pending.transfer.id not in self._recorded])
            self._recorded |= {pending.transfer.id: pending.expires_at for pending in found}
            if not found or found[-1].expires_at == after:
                break
            after = found[-1].expires_at
            if len(found) < PAGE_MAX:
                break
        self._after = max(self._after, after - OVERLAP)
        self._recorded = {id_: expires_at for id_, expires_at in self._recorded.items() if expires_at >= self._after}

    async def _record(self, transfers: list[PendingTransfer]) -> None:
        if transfers:
            self._wakeup.notify(await commands.record_pending(self._pool, transfers))


def _pending(item: dict[str, object]) -> PendingTransfer:
    transfer = Transfer(
        id=UUID(str(item["id"])),
        kind=str(item["kind"]),
        amount=int(str(item["amount"])),
        currency=str(item["currency"]),
        from_wallet_id=UUID(str(item["from_wallet_id"])),
        to_wallet_id=UUID(str(item["to_wallet_id"])),
        description=None if item["description"] is None else str(item["description"]),
    )
    return PendingTransfer(transfer, UUID(str(item["sender_id"])), datetime.fromisoformat(str(item["expires_at"])))
