"""Items that were not finalized: the next attempt, or a dead letter."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from services.chassis import consumer, metrics
from services.chassis.broker import ATTEMPTS, REASON, OutgoingMessage, PublishFailed
from services.chassis.consumer import Consumer, DeadLetter, Delivery, Retry
from services.chassis.roles import Runtime
from services.contracts.messages import MalformedMessage, decode_envelope, encode_envelope
from services.contracts.topology import DELAY_SECONDS, REQUESTED_QUEUE, TRANSFERS_REQUESTED

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RAW = {"number": 1}


@pytest.fixture
def consuming() -> Consumer[Any]:
    """A consumer that is not connected."""

    async def handle(_window: object) -> list[Any]:
        return []

    return Consumer(
        url="amqp://unused@127.0.0.1:9/",
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
    """Each attempt uses the next delay queue, finally the longest, with a delay between half of its time and all of it."""
    before = delayed()

    outgoing = [consuming._exception(entry(attempt), Retry("test")) for _ in range(200)]

    assert {REQUESTED_QUEUE.delay(seconds)} == {one.routing_key for one in outgoing}
    assert {"": attempt} == {one.exchange: one.headers[ATTEMPTS] for one in outgoing}
    waits = [one.expires_after_seconds or 0 for one in outgoing]
    assert seconds / 2 <= min(waits) < max(waits) <= seconds
    assert 200 == delayed() - before
    assert [RAW] == list(decode_envelope(TRANSFERS_REQUESTED, outgoing[0].body).items)


async def test_a_handler_gets_a_limited_number_of_items(consuming: Consumer[Any]) -> None:
    """A window can have more items than a handler can do in its time; it gets them in parts, in order."""
    parts: list[list[Any]] = []

    async def handle(part: Sequence[Delivery[Any]]) -> list[Any]:
        parts.append([delivery.item for delivery in part])
        return [Retry(str(delivery.item)) for delivery in part]

    consuming._handle = handle
    window = [consumer._Entry(RAW, Delivery(number, 1, redelivered=False, sent_at=NOW)) for number in range(1025)]

    verdicts = await consuming._evaluate(None, None, window)  # type: ignore[arg-type]

    assert [512, 512, 1] == [len(part) for part in parts]
    assert [str(number) for number in range(1025)] == [verdict.reason for verdict in verdicts if verdict]


def test_the_delays_are_those_of_the_queues() -> None:
    """The delays that the tests of this file expect."""
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
def test_items_without_attempts_left_become_dead_letters(
    consuming: Consumer[Any], attempt: int, verdict: Retry | DeadLetter, reason: str
) -> None:
    """After the last attempt, or at once for a verdict of dead letter: with its reason, its attempts and an id."""
    counted = reason.partition(":")[0] if len(reason) < 500 else "x" * 600
    before, delays = dead_lettered(counted), delayed()

    dead_letters = [consuming._exception(entry(attempt), verdict) for _ in range(2)]

    assert {("", REQUESTED_QUEUE.dead_letter, None)} == {
        (one.exchange, one.routing_key, one.expires_after_seconds) for one in dead_letters
    }
    assert [{ATTEMPTS: attempt, REASON: reason}] * 2 == [dict(one.headers) for one in dead_letters]
    assert 2 == len({one.message_id for one in dead_letters} - {None})
    assert (2, 0) == (dead_lettered(counted) - before, delayed() - delays)


class Watch:
    """A channel that stays open, and a watch that does not end."""

    is_closed = False

    def done(self) -> bool:
        return False


async def test_only_unconfirmed_messages_are_published_again(
    consuming: Consumer[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three messages one is refused twice and one once: each is published until its confirm, and not again."""
    monkeypatch.setattr("services.chassis.consumer.backoff.seconds", lambda _failures: 0.0)
    reasons: dict[str, list[str]] = {"a": [], "b": ["refused", "timeout"], "c": ["unavailable"]}
    published: list[list[str]] = []

    async def publish(messages: Sequence[OutgoingMessage]) -> list[PublishFailed | None]:
        published.append([message.routing_key for message in messages])
        left = [reasons[message.routing_key] for message in messages]
        return [PublishFailed(one.pop(0)) if one else None for one in left]

    monkeypatch.setattr(consuming._publisher, "publish", publish)
    still: Any = Watch()

    await consuming._finalize_exceptions(still, still, [OutgoingMessage("", key, b"{}") for key in "abc"])

    assert [["a", "b", "c"], ["b", "c"], ["b"]] == published


class Arrived:
    """A message as the driver delivers it."""

    def __init__(self, body: bytes, **headers: object) -> None:
        self.body = body
        self.headers = headers
        self.redelivered = False


def test_only_single_items_have_attempts(consuming: Consumer[Any]) -> None:
    """A bundle has no attempts; an invalid header counts as none; a malformed message was never attempted."""
    alone = encode_envelope(TRANSFERS_REQUESTED, ['{"n":1}'], sent_at=NOW)
    bundle = encode_envelope(TRANSFERS_REQUESTED, ['{"n":1}', '{"n":2}'], sent_at=NOW)
    messages: Any = [
        Arrived(alone),
        Arrived(alone, **{ATTEMPTS: 3}),
        Arrived(alone, **{ATTEMPTS: "3"}),
        Arrived(bundle, **{ATTEMPTS: 3}),
        Arrived(b"no json", **{ATTEMPTS: 3}),
    ]

    entries, poison = consuming._read(messages)

    assert [1, 4, 1, 1, 1] == [one.delivery.attempt for one in entries]
    assert {NOW} == {one.delivery.sent_at for one in entries}
    assert [0] == [one.headers[ATTEMPTS] for one in poison]
    assert [b"no json"] == [one.body for one in poison]


def test_an_unreadable_item_is_dead_lettered_alone(consuming: Consumer[Any]) -> None:
    """The other items of the bundle are handled, and it becomes a dead letter with 0 attempts."""

    def decode(raw: dict[str, Any]) -> Any:
        if raw["n"] == 2:
            raise MalformedMessage("odd")
        return raw

    consuming._decode = decode
    bundle = encode_envelope(TRANSFERS_REQUESTED, ['{"n":1}', '{"n":2}', '{"n":3}'], sent_at=NOW)
    messages: Any = [Arrived(bundle, **{ATTEMPTS: 3})]

    entries, [dead_letter] = consuming._read(messages)

    assert [1, 3] == [one.raw["n"] for one in entries]
    assert [{"n": 2}] == list(decode_envelope(TRANSFERS_REQUESTED, dead_letter.body).items)
    assert {ATTEMPTS: 0, REASON: "malformed: odd"} == dict(dead_letter.headers)
