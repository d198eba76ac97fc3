"""Intake of transfers: requests that arrive together are sent to the transaction service as one batch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiohttp import web

from services.chassis.batching import Batcher
from services.chassis.encoding import encode
from services.contracts.refusal import OutcomeUnknown, Refusal, from_problem
from services.contracts.refusals.transaction import Busy
from services.gateway.clients.transaction import TransactionClient, TransferItem
from services.gateway.idempotency import Accepted, KeyedRequest, ResponseCache
from services.gateway.settings import REQUESTS_MAX

BATCH_MAX = 256
CONCURRENCY_MAX = 2
"""A second batch while the first is delayed; more would only make the batches smaller."""

UNDER_WAY_MAX = CONCURRENCY_MAX * BATCH_MAX
QUEUE_SECONDS_MAX = 2.0
"""If more requests are under way than the batches carry and the oldest has waited so long, a new one would wait in vain."""

RETRY_AFTER_SECONDS = 2

_MALFORMED = frozenset({400, 413, 422})
"""Statuses that reject a whole batch because one item is malformed."""


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
    """Counts the requests under way, from the look-up of a cached response to the response of the transaction service."""

    def __init__(self, requests_max: int) -> None:
        self._requests_max = requests_max
        self._started: dict[object, float] = {}

    @property
    def is_full(self) -> bool:
        """Whether one more would wait too long."""
        under_way = len(self._started)
        if under_way >= self._requests_max:
            return True
        return under_way >= UNDER_WAY_MAX and time.monotonic() - next(iter(self._started.values())) > QUEUE_SECONDS_MAX

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Count one request while the block runs.

        Raises:
            Busy: it would wait too long.
        """
        if self.is_full:
            raise busy()
        key = object()
        self._started[key] = time.monotonic()
        try:
            yield
        finally:
            del self._started[key]


class _Lane(NamedTuple):
    """Requests that are counted and batched together."""

    counter: AdmissionCounter
    batcher: Batcher[Submission, Accepted]


class Intake:
    """Sends transfers to the transaction service and caches its responses."""

    def __init__(
        self, transaction: TransactionClient, cached: ResponseCache, *, requests_max: int = REQUESTS_MAX
    ) -> None:
        self._transaction = transaction
        self._cached = cached
        # Apart: requests that need auth to find their recipient do not delay the others while auth is slow.
        self._by_wallet = self._lane("intake", requests_max)
        self._by_email = self._lane("intake_by_email", requests_max)

    def _lane(self, name: str, requests_max: int) -> _Lane:
        batcher = Batcher(name, self._flush, size_max=BATCH_MAX, concurrency_max=CONCURRENCY_MAX)
        return _Lane(AdmissionCounter(requests_max), batcher)

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
        with lane.counter.slot():
            cached = await self._cached.find(request)
            return cached if cached is not None else await lane.batcher.submit(Submission(request, item))

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


INTAKE: web.AppKey[Intake] = web.AppKey("intake")
