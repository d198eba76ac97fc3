"""The queue before the batch: who takes a place in it, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from services.chassis.batching import Batcher
from services.contracts.refusal import Refusal
from services.contracts.refusals.transaction import Busy
from services.gateway.idempotency import Accepted, FinishedAnswers, Question
from services.gateway.intake import Queue, Submission

ACCEPTED = Accepted("0192a000-0000-7000-8000-000000000001", b"{}", replayed=True)


class SlowAnswers(FinishedAnswers):
    """A cache that answers when it is told to, and then knows the answer."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = asyncio.Event()

    async def find(self, question: Question) -> Accepted | None:  # noqa: ARG002 - every question is the same
        self.asked += 1
        await self.may_answer.wait()
        return ACCEPTED


async def _never(_submissions: Sequence[Submission]) -> list[Accepted | Refusal]:
    raise AssertionError("the cache knows every answer")


def submission(key: str) -> Submission:
    return Submission(Question(user_id="u", key=key, request_hash="h"), {"to": {"wallet_id": "w"}})


async def test_a_place_is_taken_before_the_cache_is_asked() -> None:
    """Who comes when all places are taken is refused at once; who got in is never refused later, however slow the cache."""
    answers = SlowAnswers()
    batcher = Batcher("test", _never, size_max=1, flights_max=1)
    queue = Queue(batcher, answers, requests_max=2)
    inside = [asyncio.create_task(queue.submit(submission(f"k-{number}"))) for number in range(2)]
    while answers.asked < 2:
        await asyncio.sleep(0)

    with pytest.raises(Busy):
        await asyncio.wait_for(queue.submit(submission("k-3")), 30)
    answers.may_answer.set()

    assert [ACCEPTED, ACCEPTED] == await asyncio.gather(*inside)
    assert 2 == answers.asked
    assert not queue.is_full
