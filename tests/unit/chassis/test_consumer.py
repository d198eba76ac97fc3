"""Where an item goes that did not settle: its next attempt, or the dead letters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from services.chassis import consumer, metrics
from services.chassis.broker import ATTEMPTS, REASON
from services.chassis.consumer import Consumer, DeadLetter, Delivery, Retry
from services.chassis.roles import Runtime
from services.contracts.messages import decode_envelope
from services.contracts.topology import DELAY_SECONDS, REQUESTED_QUEUE, TRANSFERS_REQUESTED

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RAW = {"number": 1}


@pytest.fixture
def consuming() -> Consumer[Any]:
    """A consumer that is not connected."""

    async def handle(_window: object) -> list[Any]:
        return []

    return Consumer(
        url="amqp://nobody@127.0.0.1:9/",
        queue=REQUESTED_QUEUE,
        route=TRANSFERS_REQUESTED,
        decode=dict,
        handle=handle,
        runtime=Runtime(service="test", role="worker", instance="test"),
        attempts_max=8,
    )


def entry(attempt: int) -> consumer._Entry[Any]:
    return consumer._Entry(RAW, Delivery(RAW, attempt, redelivered=False, sent_at=NOW))


def delayed() -> float:
    return float(metrics.DELAYED.labels(REQUESTED_QUEUE.name)._value.get())


def dead_lettered(reason: str) -> float:
    return float(metrics.DEAD_LETTERED.labels(REQUESTED_QUEUE.name, reason)._value.get())


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 30), (7, 30)]
)  # fmt: skip
def test_each_failure_waits_longer(consuming: Consumer[Any], attempt: int, seconds: int) -> None:
    """After each attempt the next delay queue, at last the longest again, and between half of its time and all of it."""
    before = delayed()

    outgoing = [consuming._exception(entry(attempt), Retry("test")) for _ in range(200)]

    assert {REQUESTED_QUEUE.delay(seconds)} == {one.routing_key for one in outgoing}
    assert {"": attempt} == {one.exchange: one.headers[ATTEMPTS] for one in outgoing}
    waits = [one.expires_after_seconds or 0 for one in outgoing]
    assert seconds / 2 <= min(waits) < max(waits) <= seconds
    assert 200 == delayed() - before
    assert [RAW] == list(decode_envelope(TRANSFERS_REQUESTED, outgoing[0].body).items)


def test_the_delays_are_those_of_the_queues() -> None:
    """The steps that the tests of this file count with."""
    assert (1, 2, 4, 8, 16, 30) == DELAY_SECONDS


@pytest.mark.parametrize(
    ("attempt", "verdict", "reason"),
    [
        (8, Retry("test"), "attempts_max: test"),
        (9, Retry("test"), "attempts_max: test"),
        (1, DeadLetter("conflict"), "conflict"),
        (3, DeadLetter("x" * 600), "x" * 500),
    ],
)
def test_what_is_given_up_is_a_dead_letter(
    consuming: Consumer[Any], attempt: int, verdict: Retry | DeadLetter, reason: str
) -> None:
    """With the last attempt, or at once where only a person can help: with its reason, its attempts, and an id."""
    counted = reason.partition(":")[0] if len(reason) < 500 else "x" * 600
    before, delays = dead_lettered(counted), delayed()

    letters = [consuming._exception(entry(attempt), verdict) for _ in range(2)]

    assert {("", REQUESTED_QUEUE.dead_letter, None)} == {
        (one.exchange, one.routing_key, one.expires_after_seconds) for one in letters
    }
    assert [{ATTEMPTS: attempt, REASON: reason}] * 2 == [dict(one.headers) for one in letters]
    assert 2 == len({one.message_id for one in letters} - {None})
    assert (2, 0) == (dead_lettered(counted) - before, delayed() - delays)
