"""The way in for money: all requests that wait at the same moment go to the transaction service as one list."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from services.chassis.batching import Batcher
from services.chassis.client import Upstream
from services.contracts.refusal import OutcomeUnknown, Refusal, from_problem
from services.contracts.refusals.transaction import Busy
from services.gateway import responses, upstreams
from services.gateway.idempotency import Accepted, FinishedAnswers, Question
from services.gateway.settings import REQUESTS_MAX

BATCH_MAX = 256
FLIGHTS_MAX = 2
"""A second call while the first is held up; more would only make the batches smaller."""

UNDER_WAY_MAX = FLIGHTS_MAX * BATCH_MAX
QUEUE_SECONDS_MAX = 2.0
"""When more are under way than the flights carry, and the oldest has waited so long, who comes now would wait in vain."""

RETRY_AFTER_SECONDS = 2

_SPOILED = frozenset({400, 413, 422})
"""A list is refused with these when something in it is malformed, though not everything."""


@dataclass(frozen=True, slots=True)
class Submission:
    """One item of the list, and the question that its answer will answer again."""

    question: Question
    item: dict[str, Any]


class _ListRefused(Exception):  # noqa: N818 - not an error: one item spoils the list, halving finds it
    pass


def busy() -> Busy:
    """What those are told who would wait in vain."""
    return Busy("more transfers wait than can be accepted in time", retry_after_seconds=RETRY_AFTER_SECONDS)


class Queue:
    """Those who look for an answer given before, those who wait for their batch, and those whose batch is on its way."""

    def __init__(self, batcher: Batcher[Submission, Accepted], finished: FinishedAnswers, *, requests_max: int) -> None:
        self._batcher = batcher
        self._finished = finished
        self._requests_max = requests_max
        self._since: dict[int, float] = {}

    @property
    def is_full(self) -> bool:
        """Whether one more would wait too long."""
        under_way = len(self._since)
        if under_way >= self._requests_max:
            return True
        return under_way >= UNDER_WAY_MAX and time.monotonic() - next(iter(self._since.values())) > QUEUE_SECONDS_MAX

    async def submit(self, submission: Submission) -> Accepted:
        """Wait for the answer to this one. Raises as `Intake.accept` does."""
        # The place is taken before anything is waited for: whoever got past the gateway is not refused later.
        if self.is_full:
            raise busy()
        number = id(submission)
        self._since[number] = time.monotonic()
        try:
            finished = await self._finished.find(submission.question)
            return finished if finished is not None else await self._batcher.submit(submission)
        finally:
            del self._since[number]


class Intake:
    """Hands transfers over and keeps what came of them."""

    def __init__(self, transaction: Upstream, finished: FinishedAnswers, *, requests_max: int = REQUESTS_MAX) -> None:
        self._transaction = transaction
        self._finished = finished
        self._requests_max = requests_max
        # Apart: those whose recipient auth must be asked for do not hold up the others while auth is slow.
        self._by_wallet = self._queue("intake")
        self._by_email = self._queue("intake_by_email")

    def _queue(self, name: str) -> Queue:
        batcher = Batcher(name, self._flush, size_max=BATCH_MAX, flights_max=FLIGHTS_MAX)
        return Queue(batcher, self._finished, requests_max=self._requests_max)

    @property
    def is_full(self) -> bool:
        """Whether whoever comes now may be refused unread.

        Those by e-mail are left out: while auth is slow they wait, and nobody else shall be refused for it.
        """
        return self._by_wallet.is_full

    async def accept(self, submission: Submission) -> Accepted:
        """Hand over one transfer and wait for its own answer, unless it was answered before.

        Raises:
            OutcomeUnknown: no answer in time; the same key tells later what became of it.
            Unavailable: the transaction service is away, or (Busy) too many wait for it.
            Refusal: what it said about this transfer.
        """
        queue = self._by_email if "email" in submission.item["to"] else self._by_wallet
        return await queue.submit(submission)

    async def _flush(self, submissions: Sequence[Submission]) -> list[Accepted | Refusal]:
        try:
            answer = await upstreams.call(
                self._transaction,
                "POST",
                "/internal/transfers",
                body={"items": [submission.item for submission in submissions]},
            )
        except Refusal as refusal:
            if len(submissions) > 1 and refusal.status in _SPOILED:
                raise _ListRefused from refusal
            raise
        return self._finalize(submissions, answer)

    def _finalize(self, submissions: Sequence[Submission], answer: Any) -> list[Accepted | Refusal]:
        try:
            finalized = [_read(item) for item in answer["items"]]
        except (KeyError, TypeError, ValueError):
            finalized = []
        if len(finalized) != len(submissions):
            raise OutcomeUnknown("the transaction service gave an answer that was not understood")
        pairs = zip(submissions, finalized, strict=True)
        accepted = [(sent.question, result) for sent, result in pairs if isinstance(result, Accepted)]
        if accepted:
            self._finished.keep(accepted)
        return finalized


def _read(item: Mapping[str, Any]) -> Accepted | Refusal:
    if "problem" in item:
        return from_problem(item["problem"], item.get("headers") or {})
    transfer = item["transfer"]
    return Accepted(str(transfer["id"]), responses.encode(transfer), replayed=bool(item["replayed"]))


INTAKE: web.AppKey[Intake] = web.AppKey("intake")
