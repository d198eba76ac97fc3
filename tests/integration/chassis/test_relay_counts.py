"""Which rows a relay reads and in which order, how they form messages, and what the relay reports."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from uuid import UUID

import pytest

from services.chassis import database, metrics, outbox
from services.chassis.broker import OutgoingMessage, Publisher, PublishFailed
from services.chassis.database import Pool, close_pool
from services.chassis.outbox import RELEASE_SECONDS, Item, Relay
from services.chassis.roles import Runtime
from services.contracts.identifiers import first_id_at, new_id
from services.contracts.topology import BUNDLE_MAX, TRANSFERS_FINALIZED, TRANSFERS_REQUESTED, Route
from tests.harness.databases import TestDatabase


class Broker(Publisher):
    """A broker that confirms all messages except those with a given reason."""

    def __init__(self) -> None:
        self.messages: list[OutgoingMessage] = []
        self.reasons: list[str | None] = []

    async def publish(self, messages: Sequence[OutgoingMessage]) -> list[PublishFailed | None]:
        self.messages += messages
        reasons = [self.reasons.pop(0) if self.reasons else None for _ in messages]
        return [None if reason is None else PublishFailed(reason) for reason in reasons]

    def ids(self) -> list[list[UUID]]:
        """The items in each message."""
        bodies = [json.loads(message.body) for message in self.messages]
        return [[UUID(item["id"]) for item in body.get("commands", []) + body.get("events", [])] for body in bodies]


class Stopping(Broker):
    """A broker that confirms, while the relay is stopped."""

    stop: Callable[[], None]

    async def publish(self, messages: Sequence[OutgoingMessage]) -> list[PublishFailed | None]:
        self.stop()
        return await super().publish(messages)


@pytest.fixture
async def pool(transaction_database: TestDatabase) -> AsyncIterator[Pool]:
    opened = await transaction_database.pool()
    yield opened
    await close_pool(opened)


async def relay(pool: Pool, publisher: Publisher) -> Relay:
    """A relay that has the lease."""
    made = Relay(pool, publisher, Runtime(service="counted", role="relay", instance="test"))
    await made._take_lease()
    return made


async def append(pool: Pool, route: Route, *ids: UUID, delay_seconds: float = 0.0) -> None:
    items = [Item(id_, id_, f'{{"id":"{id_}"}}') for id_ in ids]
    async with pool.acquire() as connection, connection.transaction():
        await outbox.append(connection, route, items, delay_seconds=delay_seconds)


async def append_old(pool: Pool, route: Route, *ids: UUID) -> None:
    """Write rows as an earlier release did: one item each."""
    await pool.execute(
        'INSERT INTO outbox (id, topic, body) SELECT id, $1, format(\'{"id":"%s"}\', id) FROM unnest($2::uuid[]) AS given(id)',
        route.type,
        ids,
    )


async def unpublished(pool: Pool) -> set[UUID]:
    rows = await pool.fetch("SELECT coalesce(subject_ids, ARRAY[id]) AS ids FROM outbox WHERE published_at IS NULL")
    return {id_ for row in rows for id_ in row["ids"]}


async def test_a_commit_writes_few_rows(pool: Pool) -> None:
    """A row has the items of a full message and the smallest of their ids."""
    ids = [new_id() for _ in range(BUNDLE_MAX + 3)]

    await append(pool, TRANSFERS_REQUESTED, *ids[::-1])

    rows = [tuple(row) for row in await pool.fetch("SELECT id, subject_ids, claimed_until FROM outbox ORDER BY id")]
    assert [(ids[0], ids[2::-1], None), (ids[3], ids[:2:-1], None)] == rows


async def test_rows_form_messages(pool: Pool) -> None:
    """Each topic separately, in the order of the rows, every item once, rows together while they fit into a message."""
    sizes = (30, 34, 1, 40, BUNDLE_MAX)
    parts = [[new_id() for _ in range(size)] for size in sizes]
    finalized = [new_id() for _ in range(5)]
    for ids in parts[::-1]:
        await append(pool, TRANSFERS_REQUESTED, *ids)
    await append(pool, TRANSFERS_FINALIZED, *finalized)
    taking = Broker()

    counts = await (await relay(pool, taking))._pass()

    whole = [parts[0] + parts[1], parts[2] + parts[3], parts[4]]
    assert 64 == BUNDLE_MAX
    assert [*whole, finalized] == taking.ids()
    assert ["transfers.requested"] * 3 + ["transfers.finalized"] == [one.routing_key for one in taking.messages]
    assert ((sum(sizes) + 5, 0), set()) == (counts, await unpublished(pool))


async def test_rows_of_earlier_releases_are_published(pool: Pool) -> None:
    """Rows with one item each and without its id, together with new ones; both are counted by items."""
    old, new = [new_id() for _ in range(3)], [new_id() for _ in range(2)]
    await append_old(pool, TRANSFERS_REQUESTED, *old)
    await append(pool, TRANSFERS_REQUESTED, *new)
    taking = Broker()
    async with database.connection(pool) as connection:
        before = (await outbox.measure(connection))["unpublished"]

    counts = await (await relay(pool, taking))._pass()

    assert (5, (5, 0), set()) == (before, counts, await unpublished(pool))
    assert [[*old, *new]] == taking.ids()


async def test_only_confirmed_rows_are_marked_published(pool: Pool) -> None:
    """One of three messages is refused: exactly its rows wait for another attempt, and it is counted once."""
    ids = [new_id() for _ in range(2 * BUNDLE_MAX + 3)]
    await append(pool, TRANSFERS_REQUESTED, *ids)
    refusing = Broker()
    refusing.reasons = [None, "refused", None]
    failures = metrics.OUTBOX_FAILURES.labels("counted", "refused")
    before = failures._value.get()

    counts = await (await relay(pool, refusing))._pass()

    left = ids[BUNDLE_MAX : 2 * BUNDLE_MAX]
    assert ((len(ids) - BUNDLE_MAX, BUNDLE_MAX), set(left)) == (counts, await unpublished(pool))
    assert 1 == failures._value.get() - before
    row = await pool.fetchrow(
        "SELECT sum(cardinality(subject_ids)), max(claimed_until) - clock_timestamp() <= make_interval(secs => $1) "
        "FROM outbox WHERE published_at IS NULL",
        RELEASE_SECONDS,
    )
    assert row is not None
    assert (BUNDLE_MAX, True) == tuple(row)


async def test_the_oldest_rows_go_first(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more items than one read takes: in the order of their ids, whatever order they were written in."""
    monkeypatch.setattr(outbox, "CLAIM_MAX", 3)
    ids = sorted(new_id() for _ in range(7))
    for id_ in ids[::-1]:
        await append(pool, TRANSFERS_REQUESTED, id_)
    taking = Broker()

    counts = await (await relay(pool, taking))._pass()

    assert (7, 0) == counts
    assert [ids[:3], ids[3:6], ids[6:]] == taking.ids()


async def test_a_read_is_limited_by_items(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read ends with the row that reaches the limit; the next one follows in the same pass."""
    monkeypatch.setattr(outbox, "CLAIM_MAX", 5)
    for size in (3, 4, 1):
        await append(pool, TRANSFERS_REQUESTED, *(new_id() for _ in range(size)))
    taking = Broker()

    counts = await (await relay(pool, taking))._pass()

    assert ((8, 0), [7, 1]) == (counts, [len(ids) for ids in taking.ids()])


async def test_a_stop_ends_a_pass(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that stops marks what the broker has confirmed and publishes no more."""
    monkeypatch.setattr(outbox, "CLAIM_MAX", 1)
    ids = sorted(new_id() for _ in range(3))
    for id_ in ids:
        await append(pool, TRANSFERS_REQUESTED, id_)
    stopping = Stopping()
    one = await relay(pool, stopping)
    stopping.stop = one._runtime.stopping.set

    counts = await one._pass()

    assert ((1, 0), [ids[:1]], set(ids[1:])) == (counts, stopping.ids(), await unpublished(pool))


async def test_a_delayed_row_waits(pool: Pool) -> None:
    """It is delayed for the given seconds; other rows are published meanwhile."""
    held, other = new_id(), new_id()
    await append(pool, TRANSFERS_REQUESTED, held, delay_seconds=1000.0)
    await append(pool, TRANSFERS_REQUESTED, other)
    taking = Broker()

    await (await relay(pool, taking))._pass()

    assert [[other]] == taking.ids()
    seconds = await pool.fetchval(
        "SELECT extract(epoch FROM claimed_until - clock_timestamp()) FROM outbox WHERE id = $1", held
    )
    assert 900 < seconds <= 1000


async def test_a_relay_reports_that_nothing_is_published(pool: Pool) -> None:
    """Nothing confirmed: it is not ready, with the reason. Something confirmed: it is ready, and still reports the failure."""
    publishing = Broker()
    one = await relay(pool, publishing)
    said = []
    for reasons in (["timeout"], [None]):
        await append(pool, TRANSFERS_REQUESTED, new_id())
        await pool.execute("UPDATE outbox SET claimed_until = NULL")
        publishing.reasons = list(reasons)
        await one._pass()
        said.append((one.failing, await is_ready(one)))
    await append(pool, TRANSFERS_REQUESTED, new_id())
    await append(pool, TRANSFERS_FINALIZED, new_id())
    publishing.reasons = [None, "unroutable"]
    await one._pass()
    said.append((one.failing, await is_ready(one)))

    assert [("timeout", False), (None, True), ("unroutable", True)] == said


async def is_ready(one: Relay) -> bool:
    try:
        await one.ping()
    except ConnectionError:
        return False
    return True


async def test_the_backlog_is_measured(pool: Pool) -> None:
    """Items without a confirm count, due or not, with the age of the oldest; published ones do not."""
    async with database.connection(pool) as connection:
        empty = tuple(await outbox.measure(connection))
    old, claimed, done = new_id(), new_id(), new_id()
    await append(pool, TRANSFERS_REQUESTED, old, new_id(), new_id())
    await append(pool, TRANSFERS_REQUESTED, claimed)
    await append(pool, TRANSFERS_REQUESTED, done)
    await pool.execute("UPDATE outbox SET created_at = created_at - interval '1 hour' WHERE id IN ($1, $2)", old, done)
    await pool.execute(
        "UPDATE outbox SET created_at = created_at - interval '1 day', published_at = now() WHERE id = $1", done
    )
    await pool.execute("UPDATE outbox SET claimed_until = clock_timestamp() + interval '1 hour' WHERE id = $1", claimed)

    async with database.connection(pool) as connection:
        unpublished_count, lag_seconds = await outbox.measure(connection)

    assert (0, None) == empty
    assert 4 == unpublished_count
    assert 3600 <= lag_seconds < 7200


async def test_the_gauges_follow_the_backlog(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many rows wait, and for how long; when another relay has published them, this one is ready again."""
    monkeypatch.setattr(outbox, "MEASURE_SECONDS", 0.01)
    waiting, lag = metrics.OUTBOX_UNPUBLISHED.labels("counted"), metrics.OUTBOX_LAG.labels("counted")
    refusing = Broker()
    refusing.reasons = ["refused"]
    one = await relay(pool, refusing)
    await append(pool, TRANSFERS_REQUESTED, new_id(), new_id(), new_id())
    await pool.execute("UPDATE outbox SET created_at = created_at - interval '1 hour'")
    await one._pass()
    stuck = (one.failing, await is_ready(one))

    measuring = asyncio.create_task(one._measure())
    async with asyncio.timeout(60):
        while waiting._value.get() != 3 or lag._value.get() < 3600:
            await asyncio.sleep(0.01)
        still = await is_ready(one)
        await pool.execute("UPDATE outbox SET published_at = now()")
        while waiting._value.get() or one.failing:
            await asyncio.sleep(0.01)
    measuring.cancel()

    assert (("refused", False), False, True, 0) == (stuck, still, await is_ready(one), lag._value.get())


async def test_pruning_is_bounded(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest first, with a bounded statement however many there are."""
    monkeypatch.setattr(outbox, "PRUNE_MAX", 2)
    monkeypatch.setattr(outbox, "PRUNE_SECONDS", 3600.0)
    old = [first_id_at(1_700_000_000 + number) for number in range(5)]
    for id_ in old[::-1]:
        await append(pool, TRANSFERS_REQUESTED, id_)
    await pool.execute("UPDATE outbox SET published_at = now()")

    pruning = asyncio.create_task((await relay(pool, Broker()))._prune())
    async with asyncio.timeout(30):
        while await pool.fetchval("SELECT count(*) FROM outbox") == 5:
            await asyncio.sleep(0.01)
    pruning.cancel()

    assert old[2:] == [row["id"] for row in await pool.fetch("SELECT id FROM outbox ORDER BY id")]
