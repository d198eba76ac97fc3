"""The catch-up: reads finalized transfers from the transaction service, so that no outcome is lost with its message.

It continues from a recorded position, in the order in which transfers were finalized, and records the outcomes of which no
message arrived. Copies are recognized by what they recorded, as for messages.
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
"""How many finalized transfers are read at a time: ids only, most of them are known."""

EVENTS_MAX = 500
"""How many events are fetched and recorded at a time: as many as in the largest window of messages."""

CALL_SECONDS = 5.0
JOB = "catch-up"

log = structlog.get_logger()


class _Page(NamedTuple):
    """A page of finalized transfers in their order, and the position of the last."""

    transfer_ids: list[UUID]
    end: Finalized


class CatchUp:
    """Records events that the broker lost. Several may run: they share the position, and each event is recorded once."""

    def __init__(self, pool: Pool, transaction: Upstream, wakeup: FeedWakeup, *, with_deliveries: bool) -> None:
        self._pool = pool
        self._transaction = transaction
        self._wakeup = wakeup
        self._with_deliveries = with_deliveries

    async def run(self, runtime: Runtime, *, every_seconds: float) -> None:
        """A pass every few seconds until the role stops; a pause first, in which waiting messages are consumed."""
        while True:
            await runtime.pause(every_seconds)
            if runtime.stopping.is_set():
                return
            await self._try_catch_up()

    async def catch_up(self) -> int:
        """One pass over everything finalized since the last one; how many events it recorded.

        Raises:
            Refusal, LockTimeout: something is unavailable or locked; the next pass continues after the last complete page.
        """
        recorded_count = 0
        while True:
            page = await self._list_finalized(await commands.find_position(self._pool))
            if page is None:
                return recorded_count
            recorded_count += await self._record(await commands.list_unrecorded(self._pool, page.transfer_ids))
            await commands.advance_position(self._pool, page.end)
            if len(page.transfer_ids) < PAGE_MAX:
                return recorded_count

    async def _try_catch_up(self) -> None:
        try:
            recorded_count = await self.catch_up()
        except (Unavailable, OutcomeUnknown, LockTimeout) as error:
            log.debug("catch_up_delayed", reason=str(error))
        except Exception:
            # Consuming messages goes on; the next pass starts from the same position.
            log.exception("catch_up_failed")
        else:
            chassis_metrics.JOB_LAST_SUCCESS.labels(JOB).set_to_current_time()
            if recorded_count:
                log.warning("events_caught_up", events=recorded_count)

    async def _record(self, transfer_ids: Sequence[UUID]) -> int:
        recorded_count = 0
        for start in range(0, len(transfer_ids), EVENTS_MAX):
            events = await self._list_events(transfer_ids[start : start + EVENTS_MAX])
            recorded = await commands.record_events(self._pool, events, with_deliveries=self._with_deliveries)
            self._wakeup.notify(recorded.user_ids)
            metrics.CAUGHT_UP.inc(recorded.events_count)
            recorded_count += recorded.events_count
        return recorded_count

    async def _list_finalized(self, after: Finalized) -> _Page | None:
        response = await self._transaction.call(
            "GET",
            "/internal/finalized",
            params={
                "finalized_at": format_time(after.at),
                "transfer_id": str(after.transfer_id),
                "limit": str(PAGE_MAX),
            },
            seconds=CALL_SECONDS,
        )
        ids = [UUID(text) for text in response["transfer_ids"]]
        return _Page(ids, Finalized(datetime.fromisoformat(response["finalized_at"]), ids[-1])) if ids else None

    async def _list_events(self, transfer_ids: Sequence[UUID]) -> list[TransferEvent]:
        body = {"transfer_ids": [str(id_) for id_ in transfer_ids]}
        response = await self._transaction.call("POST", "/internal/events", body=body, seconds=CALL_SECONDS)
        events = [decode_event(item) for item in response["events"]]
        # The position must not pass an event that is not recorded.
        assert {event.transfer_id for event in events} == set(transfer_ids), "each finalized transfer has an event"
        return events
