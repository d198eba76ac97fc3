"""What is counted and stored of dead letters: copies, times, and what is listed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import pytest

from services.chassis import broker, dead_letter_archiver, dead_letters
from services.chassis.audit import Cursor
from services.chassis.broker import ATTEMPTS, REASON, Publisher
from services.chassis.database import Pool, close_pool
from services.chassis.dead_letters import Actor, DeadLetterResolved, NewDeadLetter
from services.contracts.identifiers import new_id
from services.contracts.messages import encode_envelope
from services.contracts.topology import FINALIZED_QUEUE, REQUESTED_QUEUE, TRANSFERS_REQUESTED, Queue
from tests.harness.databases import TestDatabase
from tests.harness.dead_letters import archived, archiving
from tests.harness.services import MoneyPath

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BY = Actor(new_id(), "the-request-1")


@pytest.fixture
async def pool(transaction_database: TestDatabase) -> AsyncIterator[Pool]:
    opened = await transaction_database.pool()
    yield opened
    await close_pool(opened)


def read(body: bytes, *, attempts: int = 0, reason: str = "test", queue: Queue = REQUESTED_QUEUE) -> NewDeadLetter:
    """A dead letter that has just arrived."""
    return dead_letters.read(queue, body, {ATTEMPTS: attempts, REASON: reason}, str(new_id()))


async def only(pool: Pool) -> dict[str, object]:
    [row] = await pool.fetch("SELECT * FROM dead_letters")
    return dict(row)


async def test_copies_are_counted_one_by_one(pool: Pool) -> None:
    """Three messages of the same items: seen three times, the most attempts, the last reason, first and last time."""
    await dead_letters.archive(pool, [read(b"poison", attempts=2, reason="first")])
    first_time = (await only(pool))["first_seen_at"]
    for attempts, reason in ((8, "second"), (5, "third")):
        await dead_letters.archive(pool, [read(b"poison", attempts=attempts, reason=reason)])
    row = await only(pool)

    assert (3, 8, "third", "waiting", 0) == tuple(
        row[name] for name in ("seen", "attempts", "reason", "state", "replays")
    )
    assert first_time == row["first_seen_at"]
    assert row["last_seen_at"] > row["first_seen_at"]  # type: ignore[operator]


async def test_resolved_dead_letter_that_returns_is_new(pool: Pool) -> None:
    """After a discard the same items are a new dead letter: seen once, with its own time."""
    await dead_letters.archive(pool, [read(b"poison")])
    await dead_letters.discard(pool, (await only(pool))["id"], "seen", BY)  # type: ignore[arg-type]
    await dead_letters.archive(pool, [read(b"poison")])

    rows = await pool.fetch("SELECT state, seen, note FROM dead_letters ORDER BY id")
    assert [("discarded", 1, "seen"), ("waiting", 1, None)] == [tuple(row) for row in rows]


async def test_only_waiting_dead_letters_of_the_queue_are_counted(pool: Pool) -> None:
    """Neither resolved dead letters nor those of other queues are counted."""
    made = [read(f"poison {number}".encode()) for number in range(3)]
    await dead_letters.archive(pool, [*made, read(b"other", queue=FINALIZED_QUEUE)])
    first = await pool.fetchval("SELECT id FROM dead_letters WHERE queue = $1 LIMIT 1", REQUESTED_QUEUE.name)
    await dead_letters.discard(pool, first, "seen", BY)

    assert (2, 1) == (await dead_letters.count(pool, REQUESTED_QUEUE), await dead_letters.count(pool, FINALIZED_QUEUE))


async def test_dead_letters_are_listed_by_queue_and_state(pool: Pool, transaction_database: TestDatabase) -> None:
    """By queue and state, newest first, page by page without a gap, also when they were archived at the same instant."""
    for queue, count in ((REQUESTED_QUEUE, 5), (FINALIZED_QUEUE, 2)):
        await dead_letters.archive(pool, [read(f"{queue.name} {n}".encode(), queue=queue) for n in range(count)])
    superuser = await transaction_database.pool(transaction_database.superuser_url)
    await superuser.execute("UPDATE dead_letters SET first_seen_at = $1 WHERE queue = $2", NOON, REQUESTED_QUEUE.name)
    await close_pool(superuser)
    ids = [
        row["id"]
        for row in await pool.fetch(
            "SELECT id FROM dead_letters WHERE queue = $1 ORDER BY id DESC", REQUESTED_QUEUE.name
        )
    ]
    await dead_letters.discard(pool, ids[1], "seen", BY)

    async def listed(state: str | None = None, queue_name: str | None = REQUESTED_QUEUE.name) -> list[UUID]:
        found: list[UUID] = []
        below: Cursor | None = None
        while page := await dead_letters.list_dead_letters(
            pool, queue_name=queue_name, state=state, below=below, limit=2
        ):
            found += [row["id"] for row in page]
            below = Cursor(page[-1]["first_seen_at"], page[-1]["id"])
        return found

    assert ids == await listed()
    assert [ids[0], *ids[2:]] == await listed("waiting")
    assert ([ids[1]], []) == (await listed("discarded"), await listed("replayed"))
    assert (2, 7) == (len(await listed(None, FINALIZED_QUEUE.name)), len(await listed(None, None)))


def test_every_transfer_of_a_dead_letter_is_named() -> None:
    """All of a bundle, each once, in order, with the ids of their requests."""
    ids = [new_id() for _ in range(64)]
    items = [json.dumps({"transfer_id": str(id_), "request_id": f"r{number % 2}"}) for number, id_ in enumerate(ids)]

    bundle = read(encode_envelope(TRANSFERS_REQUESTED, [*items, items[0]], sent_at=NOON))

    assert (ids, ["r0", "r1"]) == (bundle.subject_ids, bundle.request_ids)


async def test_replay_resets_the_attempt_count(path: MoneyPath) -> None:
    """The replayed message has no attempts and its own id; the dead letter counts the replay and keeps its attempts."""
    publisher = Publisher(path.rabbitmq_url, "test")
    path.stack.push_async_callback(publisher.close)
    await dead_letters.archive(path.pool, [read(b"poison", attempts=8)])
    [row] = await archived(path.pool)

    marked = await dead_letters.replay(path.pool, publisher, row, BY)

    async with await broker.connect(path.rabbitmq_url, "test") as connection:
        queue = await (await connection.channel()).get_queue(REQUESTED_QUEUE.name)
        async with asyncio.timeout(30):
            while (message := await queue.get(fail=False, no_ack=True)) is None:
                await asyncio.sleep(0.01)
    assert (b"poison", 0) == (message.body, message.headers[ATTEMPTS])
    assert message.message_id not in (None, row["message_id"])
    assert ("replayed", 1, 8, 1) == tuple(marked[name] for name in ("state", "replays", "attempts", "seen"))
    assert marked["replayed_at"] is not None


async def test_actions_on_dead_letters_are_audited(path: MoneyPath) -> None:
    """The operator, the request, the dead letter with its queue and transfers, and the reason of a discard."""
    publisher = Publisher(path.rabbitmq_url, "test")
    path.stack.push_async_callback(publisher.close)
    ids = [new_id() for _ in range(2)]
    bodies = [
        encode_envelope(TRANSFERS_REQUESTED, [json.dumps({"transfer_id": str(id_)})], sent_at=NOON) for id_ in ids
    ]
    await dead_letters.archive(path.pool, [read(body) for body in bodies])
    rows = {bytes(row["body"]): row for row in await archived(path.pool, 2)}
    first, second = (rows[body] for body in bodies)

    await dead_letters.replay(path.pool, publisher, first, BY)
    discarded = [await dead_letters.discard(path.pool, second["id"], reason, BY) for reason in ("a test", "again")]
    with pytest.raises(DeadLetterResolved):
        await dead_letters.discard(path.pool, first["id"], "too late", BY)
    with pytest.raises(DeadLetterResolved):
        await dead_letters.replay(path.pool, publisher, discarded[0], BY)

    actions = await path.pool.fetch(
        "SELECT action, actor_id, subject_id, request_id, detail FROM audit_log ORDER BY id"
    )
    about = {"queue": REQUESTED_QUEUE.name}
    assert [
        ("dead_letter_replayed", first["id"], about | {"transfer_ids": [str(ids[0])]}),
        ("dead_letter_discarded", second["id"], about | {"transfer_ids": [str(ids[1])], "reason": "a test"}),
    ] == [(action["action"], action["subject_id"], json.loads(action["detail"])) for action in actions]
    assert {(BY.operator_id, BY.request_id)} == {(action["actor_id"], action["request_id"]) for action in actions}
    assert ["a test", "a test"] == [row["note"] for row in discarded]


async def test_gauge_counts_waiting_dead_letters(path: MoneyPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as wait in the database, kept up to date."""
    monkeypatch.setattr(dead_letter_archiver, "MEASURE_SECONDS", 0.01)
    gauge = dead_letter_archiver.DEAD_LETTERS.labels(REQUESTED_QUEUE.name)
    await dead_letters.archive(path.pool, [read(b"one"), read(b"two")])
    async with archiving(path.pool, path.rabbitmq_url, REQUESTED_QUEUE) as archiver:
        measuring = asyncio.create_task(archiver.measure())
        async with asyncio.timeout(30):
            while gauge._value.get() != 2:
                await asyncio.sleep(0.01)
            await dead_letters.discard(path.pool, (await archived(path.pool, 2))[0]["id"], "seen", BY)
            while gauge._value.get() != 1:
                await asyncio.sleep(0.01)
        measuring.cancel()
