"""Polls the transaction service for transfers that have no message, page by page in the order of a time that each of them has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import structlog

from services.chassis.client import Upstream
from services.chassis.database import LockTimeout, Pool
from services.chassis.roles import Runtime
from services.contracts.messages import format_time
from services.contracts.refusal import OutcomeUnknown, Refusal, Unavailable
from services.notification.store import BEGINNING
from services.notification.wakeup import FeedWakeup

EVERY_SECONDS = 1.0
PAGE_MAX = 500
CALL_SECONDS = 5.0

Found = TypeVar("Found")

log = structlog.get_logger()


class Listed(NamedTuple, Generic[Found]):
    """A transfer of a page: its id, its time in the order of the list, and what to record; None: nothing is recorded."""

    id: UUID
    at: datetime
    found: Found | None


@dataclass(frozen=True, slots=True)
class Source(Generic[Found]):
    """A list of the transaction service, and what is done with its transfers."""

    path: str
    after: str
    """The parameter for the time at which a page begins."""
    overlap: timedelta
    """How far back each pass begins: transfers become visible in another order than that of their times."""
    parse: Callable[[Mapping[str, Any]], Listed[Found]]
    record: Callable[[Pool, Sequence[Found]], Awaitable[frozenset[UUID]]]
    """A command that records each transfer once, however often it gets it; returns the users with new lines."""


class Poller(Generic[Found]):
    """Polls one source. Several may run: the command records each transfer once."""

    def __init__(self, source: Source[Found], pool: Pool, transaction: Upstream, *, wakeup: FeedWakeup) -> None:
        self._source = source
        self._pool = pool
        self._transaction = transaction
        self._wakeup = wakeup
        self._after = BEGINNING.at
        self._seen: dict[UUID, datetime] = {}
        self._failure: str | None = None

    async def run(self, runtime: Runtime) -> None:
        """A pass every second until the role stops."""
        while not runtime.stopping.is_set():
            await self.try_to_poll()
            await runtime.pause(EVERY_SECONDS)

    async def try_to_poll(self) -> None:
        """One pass. A failure is logged when it begins and when it ends: consuming messages goes on meanwhile."""
        try:
            await self.poll()
        except (Unavailable, OutcomeUnknown, LockTimeout) as error:
            log.debug("poll_delayed", path=self._source.path, reason=str(error))
        except Exception as error:  # noqa: BLE001 - it is logged, and the next pass starts from the same position
            self._report(error)
        else:
            if self._failure is not None:
                log.info("poll_resumed", path=self._source.path)
            self._failure = None

    async def poll(self) -> None:
        """One pass over the transfers that are new in the list.

        Raises:
            Refusal, LockTimeout: something is unavailable or locked; the next pass starts from the same position.
        """
        after = self._after
        while True:
            page = await self._list(after)
            await self._record([each.found for each in page if each.found is not None and each.id not in self._seen])
            self._seen |= {each.id: each.at for each in page}
            if not page or page[-1].at == after:
                break
            after = page[-1].at
            if len(page) < PAGE_MAX:
                break
        self._after = max(self._after, after - self._source.overlap)
        self._seen = {id_: at for id_, at in self._seen.items() if at >= self._after}

    async def _list(self, after: datetime) -> list[Listed[Found]]:
        params = {self._source.after: format_time(after), "limit": str(PAGE_MAX)}
        response = await self._transaction.call("GET", self._source.path, params=params, seconds=CALL_SECONDS)
        return [self._source.parse(item) for item in response["items"]]

    async def _record(self, found: Sequence[Found]) -> None:
        if found:
            self._wakeup.notify(await self._source.record(self._pool, found))

    def _report(self, error: Exception) -> None:
        """Log a failure once, without a traceback if it is a refusal: an earlier release has no such route."""
        is_refusal = isinstance(error, Refusal)
        failure = error.code if isinstance(error, Refusal) else type(error).__name__
        if failure != self._failure:
            log.error("poll_failed", path=self._source.path, reason=str(error), exc_info=None if is_refusal else error)
        self._failure = failure
