"""The catch-up: the broker may lose every event, for the transaction service is asked what was finalized.

It reads on from where everything was told, in the order of settlement, and tells what no message brought. It never decides
what a copy is: the inbox does, as for messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import structlog

from services.chassis import metrics as chassis_metrics
from services.chassis.client import Upstream
from services.chassis.database import LockTimeout, Pool
from services.chassis.roles import Runtime
from services.contracts.messages import TransferEvent, decode_event, format_time
from services.contracts.refusal import OutcomeUnknown, Unavailable
from services.notification import commands, metrics
from services.notification.store import Finalized
from services.notification.wakeup import FeedWakeup

PAGE_MAX = 1000
"""How many finalized transfers are looked at at a time: ids only, most of them are known."""

EVENTS_MAX = 500
"""How many events are fetched and told at a time: as much as the widest window of messages."""

CALL_SECONDS = 5.0
JOB = "catch-up"

log = structlog.get_logger()


class _Page(NamedTuple):
    """Some finalized transfers in their order, and the place of the last."""

    transfer_ids: list[UUID]
    end: Finalized


class CatchUp:
    """Tells what the broker lost. Several may run: they share the position, and the inbox lets each event in once."""

    def __init__(self, pool: Pool, transaction: Upstream, wakeup: FeedWakeup, *, with_deliveries: bool) -> None:
        self._pool = pool
        self._transaction = transaction
        self._wakeup = wakeup
        self._with_deliveries = with_deliveries

    async def run(self, runtime: Runtime, *, every_seconds: float) -> None:
        """A round every few seconds until told to stop; a pause first, in which messages that wait are heard."""
        while True:
            await runtime.pause(every_seconds)
            if runtime.stopping.is_set():
                return
            await self._try_round()

    async def catch_up(self) -> int:
        """One round over everything finalized since the last one; how many events it had to tell.

        Raises:
            Refusal, LockTimeout: something is away or in the way; the next round goes on from the last whole page.
        """
        told_count = 0
        while True:
            page = await self._list_finalized(await commands.find_position(self._pool))
            if page is None:
                return told_count
            told_count += await self._tell(await commands.list_untold(self._pool, page.transfer_ids))
            await commands.advance_position(self._pool, page.end)
            if len(page.transfer_ids) < PAGE_MAX:
                return told_count

    async def _try_round(self) -> None:
        try:
            told_count = await self.catch_up()
        except (Unavailable, OutcomeUnknown, LockTimeout) as trouble:
            log.debug("catch_up_waits", reason=str(trouble))
        except Exception:
            # Never worth the messages: they go on, and so does the next round, from the same place.
            log.exception("catch_up_failed")
        else:
            chassis_metrics.JOB_LAST_SUCCESS.labels(JOB).set_to_current_time()
            if told_count:
                log.warning("events_caught_up", events=told_count)

    async def _tell(self, transfer_ids: Sequence[UUID]) -> int:
        told_count = 0
        for start in range(0, len(transfer_ids), EVENTS_MAX):
            events = await self._list_events(transfer_ids[start : start + EVENTS_MAX])
            recorded = await commands.record_events(self._pool, events, with_deliveries=self._with_deliveries)
            self._wakeup.notify(recorded.user_ids)
            metrics.CAUGHT_UP.inc(recorded.events_count)
            told_count += recorded.events_count
        return told_count

    async def _list_finalized(self, after: Finalized) -> _Page | None:
        answer = await self._transaction.call(
            "GET",
            "/internal/finalized",
            params={
                "finalized_at": format_time(after.at),
                "transfer_id": str(after.transfer_id),
                "limit": str(PAGE_MAX),
            },
            seconds=CALL_SECONDS,
        )
        ids = [UUID(text) for text in answer["transfer_ids"]]
        return _Page(ids, Finalized(datetime.fromisoformat(answer["finalized_at"]), ids[-1])) if ids else None

    async def _list_events(self, transfer_ids: Sequence[UUID]) -> list[TransferEvent]:
        body = {"transfer_ids": [str(id_) for id_ in transfer_ids]}
        answer = await self._transaction.call("POST", "/internal/events", body=body, seconds=CALL_SECONDS)
        events = [decode_event(item) for item in answer["events"]]
        # The position must not pass what could not be told.
        assert {event.transfer_id for event in events} == set(transfer_ids), "what is finalized has an event"
        return events
