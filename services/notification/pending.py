"""Accepted transfers that are not done at once: their senders are told that they are PENDING.

No message brings this: most transfers are done before anybody could be told, and then the line is written with the outcome,
before it, in the same commit. Only what takes longer is asked for, so that a queue that stands still is told as well. What
is missed here, because its commit was slow, is told with the outcome at the latest.
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
from services.notification.feed import Accepted
from services.notification.store import BEGINNING
from services.notification.wakeup import FeedWakeup

EVERY_SECONDS = 1.0
PAGE_MAX = 500
OVERLAP = timedelta(seconds=2)
"""How far back is looked again: transfers become visible in another order than they expire."""

CALL_SECONDS = 5.0

log = structlog.get_logger()


class PendingWatch:
    """Tells senders of what is under way. Several may run: the inbox lets each line in once."""

    def __init__(self, pool: Pool, transaction: Upstream, wakeup: FeedWakeup) -> None:
        self._pool = pool
        self._transaction = transaction
        self._wakeup = wakeup
        self._after = BEGINNING.at
        self._told: dict[UUID, datetime] = {}

    async def run(self, runtime: Runtime) -> None:
        """A round every second until told to stop."""
        while not runtime.stopping.is_set():
            try:
                await self.look()
            except (Unavailable, OutcomeUnknown, LockTimeout) as trouble:
                log.debug("pending_not_told", reason=str(trouble))
            except Exception:
                # Never worth the messages: each of these lines is written with its outcome, too.
                log.exception("pending_failed")
            await runtime.pause(EVERY_SECONDS)

    async def look(self) -> None:
        """One round over what is PENDING and was not seen before.

        Raises:
            Refusal, LockTimeout: something is away or in the way; the next round begins at the same place.
        """
        after = self._after
        while True:
            answer = await self._transaction.call(
                "GET",
                "/internal/accepted",
                params={"expires_after": format_time(after), "limit": str(PAGE_MAX)},
                seconds=CALL_SECONDS,
            )
            found = [(_accepted(item), datetime.fromisoformat(item["expires_at"])) for item in answer["items"]]
            await self._tell([accepted for accepted, _ in found if accepted.transfer_id not in self._told])
            self._told |= {accepted.transfer_id: expires_at for accepted, expires_at in found}
            if not found or found[-1][1] == after:
                break
            after = found[-1][1]
            if len(found) < PAGE_MAX:
                break
        self._after = max(self._after, after - OVERLAP)
        self._told = {id_: expires_at for id_, expires_at in self._told.items() if expires_at >= self._after}

    async def _tell(self, accepted: list[Accepted]) -> None:
        if accepted:
            self._wakeup.notify(await commands.record_accepted(self._pool, accepted))


def _accepted(item: dict[str, object]) -> Accepted:
    return Accepted(
        transfer_id=UUID(str(item["id"])),
        kind=str(item["kind"]),
        amount=int(str(item["amount"])),
        currency=str(item["currency"]),
        from_wallet_id=UUID(str(item["from_wallet_id"])),
        to_wallet_id=UUID(str(item["to_wallet_id"])),
        sender_id=UUID(str(item["sender_id"])),
        description=None if item["description"] is None else str(item["description"]),
    )
