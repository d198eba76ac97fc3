"""Intake of transfers: requests that arrive together are sent to the transaction service as one batch."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import structlog
from aiohttp import web

from services.chassis.batching import Batcher
from services.chassis.deadlines import Deadlines
from services.chassis.encoding import encode
from services.contracts.refusal import OutcomeUnknown, Refusal, from_problem
from services.contracts.refusals.transaction import Busy
from services.gateway import metrics
from services.gateway.clients.transaction import TransactionClient, TransferItem
from services.gateway.errors import IdempotencyKeyInUse, IdempotencyKeyReused, NoResponseInTime
from services.gateway.idempotency import Accepted, KeyedRequest, ResponseCache
from services.gateway.operations import REQUEST_SECONDS
from services.gateway.settings import REQUESTS_MAX

BATCH_MAX = 256
CONCURRENCY_MAX = 2
"""A second batch while the first is delayed; more would only make the batches smaller."""

LOOK_UPS_MAX = 1
"""Under load the next look-up has all keys that arrived during the last one: each round trip costs two system calls."""

UNDER_WAY_MAX = CONCURRENCY_MAX * BATCH_MAX
QUEUE_SECONDS_MAX = 2.0
"""If more requests are under way than the batches carry and the oldest has waited so long, a new one would wait in vain."""

RETRY_AFTER_SECONDS = 2

LOGGED_MAX = 64
"""So many transfers of a batch in one log line."""

_MALFORMED = frozenset({400, 413, 422})
"""Statuses that reject a whole batch because one item is malformed."""

_COUNTED = {IdempotencyKeyInUse.code: "in_use", IdempotencyKeyReused.code: "reused"}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Submission:
    """One item of a batch, and the request by which its response is cached."""

    request: KeyedRequest
    item: TransferItem


class _BatchRejected(Exception):  # noqa: N818 - not an error: halving finds the malformed item
    pass


def busy() -> Busy:
    """The refusal of a request that would wait in vain."""
    return Busy("more transfers wait than can be accepted in time", retry_after_seconds=RETRY_AFTER_SECONDS)


class AdmissionCounter:
    """Counts the requests under way, from the look-up of a cached response to the response of the transaction service.

    One that waits longer than `seconds` ends with `NoResponseInTime`.
    """

    def __init__(self, requests_max: int, seconds: float) -> None:
        self._requests_max = requests_max
        self._under_way: Deadlines[Accepted] = Deadlines(seconds, NoResponseInTime)

    @property
    def is_full(self) -> bool:
        """Whether one more would wait too long."""
        count = len(self._under_way)
        if count >= self._requests_max:
            return True
        return count >= UNDER_WAY_MAX and self._under_way.longest_wait > QUEUE_SECONDS_MAX

    def open(self) -> asyncio.Future[Accepted]:
        """Count one request, until its caller calls `close` with the future of its result.

        Raises:
            Busy: it would wait too long.
        """
        if self.is_full:
            raise busy()
        return self._under_way.open()

    def close(self, future: asyncio.Future[Accepted]) -> None:
        """Stop counting a request."""
        self._under_way.close(future)


class _Lane(NamedTuple):
    """Requests that are counted and batched together."""

    counter: AdmissionCounter
    look_ups: Batcher[Submission, Accepted]


class Intake:
    """Sends transfers to the transaction service and caches its responses."""

    def __init__(
        self,
        transaction: TransactionClient,
        cached: ResponseCache,
        *,
        requests_max: int = REQUESTS_MAX,
        seconds: float = REQUEST_SECONDS,
    ) -> None:
        """At most `requests_max` requests are under way in each lane, each for at most `seconds`."""
        self._transaction = transaction
        self._cached = cached
        # Apart: requests that need auth to find their recipient do not delay the others while auth is slow.
        self._by_wallet = self._lane("intake", AdmissionCounter(requests_max, seconds))
        self._by_email = self._lane("intake_by_email", AdmissionCounter(requests_max, seconds))

    def _lane(self, name: str, counter: AdmissionCounter) -> _Lane:
        batcher = Batcher(name, self._flush, size_max=BATCH_MAX, concurrency_max=CONCURRENCY_MAX)
        look_ups = Batcher(
            "response_look_ups", self._look_up, size_max=BATCH_MAX, concurrency_max=LOOK_UPS_MAX, then=batcher
        )
        return _Lane(counter, look_ups)

    @property
    def is_full(self) -> bool:
        """Whether new requests may be refused unread.

        Transfers by e-mail do not count: while auth is slow they wait, and no other request may be refused for it.
        """
        return self._by_wallet.counter.is_full

    async def accept(self, item: TransferItem) -> Accepted:
        """Have one transfer accepted, or return the cached response to the same request.

        Raises:
            OutcomeUnknown: no response in time; a retry with the same key returns the outcome.
            Unavailable: the transaction service is unavailable, or (Busy) too many requests wait for it.
            Refusal: the transaction service refused this transfer.
        """
        lane = self._by_email if "email" in item["to"] else self._by_wallet
        request = KeyedRequest(item["user_id"], item["idempotency_key"], item["request_hash"])
        # Counted before the first await: an admitted request is not refused later.
        future = lane.counter.open()
        try:
            lane.look_ups.put(Submission(request, item), future)
            return await future
        finally:
            lane.counter.close(future)

    async def _look_up(self, submissions: Sequence[Submission]) -> list[Accepted | None]:
        found = await self._cached.find_all([submission.request for submission in submissions])
        _report(submissions, found)
        return found

    async def _flush(self, submissions: Sequence[Submission]) -> list[Accepted | Refusal]:
        try:
            result = await self._transaction.create_transfers([submission.item for submission in submissions])
        except Refusal as refusal:
            if len(submissions) > 1 and refusal.status in _MALFORMED:
                raise _BatchRejected from refusal
            raise
        return self._match(submissions, result)

    def _match(self, submissions: Sequence[Submission], result: Any) -> list[Accepted | Refusal]:
        try:
            items = [_read(item) for item in result["items"]]
        except (KeyError, TypeError, ValueError):
            items = []
        if len(items) != len(submissions):
            raise OutcomeUnknown("the response of the transaction service is not valid")
        _report(submissions, items)
        pairs = zip(submissions, items, strict=True)
        accepted = [(sent.request, item) for sent, item in pairs if isinstance(item, Accepted)]
        if accepted:
            self._cached.store(accepted)
        return items


def _read(item: Mapping[str, Any]) -> Accepted | Refusal:
    if "problem" in item:
        return from_problem(item["problem"], item.get("headers") or {})
    transfer = item["transfer"]
    return Accepted(str(transfer["id"]), encode(transfer), replayed=bool(item["replayed"]))


def _report(submissions: Sequence[Submission], results: Sequence[Accepted | Refusal | None]) -> None:
    """Count the results of a batch, and log the transfers in it: a line for each would cost as much as accepting it."""
    for counted, number in Counter(map(_count_as, results)).items():
        if counted is not None:
            metrics.IDEMPOTENCY.labels(counted).inc(number)
    transfers = [
        f"{result.transfer_id} {'replayed' if result.replayed else 'new'} {sent.item['user_id']} {sent.item['request_id']}"
        for sent, result in zip(submissions, results, strict=True)
        if isinstance(result, Accepted)
    ]
    for start in range(0, len(transfers), LOGGED_MAX):
        part = transfers[start : start + LOGGED_MAX]
        log.info("transfers_accepted", items=len(part), transfers=part, request_id=part[0].rpartition(" ")[2])


def _count_as(result: Accepted | Refusal | None) -> str | None:
    if isinstance(result, Accepted):
        return "replayed" if result.replayed else "new"
    return None if result is None else _COUNTED.get(result.code)


INTAKE: web.AppKey[Intake] = web.AppKey("intake")
