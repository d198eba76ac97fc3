"""The outbox: rows appended in the business commit, and the relay that publishes them with confirms.

A row carries the items of one commit, as a part of a message body that needs no further work. The relay that has the lease
reads rows, publishes them, and marks those that the broker has confirmed. If it dies or freezes in between, another relay takes
the lease when it expires and publishes the rows again: at least once. Consumers recognise the second copy by the items' ids.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import structlog

from services.chassis import backoff, crash_points, database, metrics, telemetry
from services.chassis.broker import OutgoingMessage, Publisher
from services.chassis.database import Connection, DatabaseUnavailable, LockTimeout, Pool, Record
from services.chassis.roles import Runtime
from services.chassis.statements import Statements
from services.contracts.identifiers import first_id_at, new_id
from services.contracts.messages import encode_envelope
from services.contracts.topology import BUNDLE_MAX, ROUTES, Route

CLAIM_MAX = 512
"""The most items of one topic in one pass."""

EXAMINED_MAX = 4096
"""The most rows that a pass looks at. Rows of a topic behind so many of another one wait for those."""

LEASE_SECONDS = 3.0
RENEW_SECONDS = 1.0
RELEASE_SECONDS = 1.0
POLL_SECONDS = 0.5
PAUSE_SECONDS_MIN = 0.01
NOTIFY_SECONDS = 0.05
"""Under load, when commits have several items, a process notifies only if the last one is longer ago than this."""

LISTEN_SECONDS = 30.0
MEASURE_SECONDS = 1.0
KEEP_PUBLISHED_SECONDS = 600.0
"""How long a published row is kept, without its body, for the timeline: it records when its items were queued."""

PRUNE_SECONDS = 10.0
PRUNE_MAX = 20_000

statements = Statements(Path(__file__).parent / "sql" / "queries.sql")
log = structlog.get_logger()

_loaded_at = -NOTIFY_SECONDS
"""When this process last appended several items, on the monotonic clock."""


class Item(NamedTuple):
    """One item to publish: its id, which sorts by time, the id of its subject, and its JSON text."""

    id: UUID
    subject_id: UUID
    body: str


async def append(connection: Connection, route: Route, items: Sequence[Item], *, delay_seconds: float = 0.0) -> None:
    """Write items in the transaction of the caller, as rows of at most `BUNDLE_MAX` items.

    They are published after the commit, `delay_seconds` later if it is not 0.
    """
    notify = must_notify(len(items))
    parts = [items[start : start + BUNDLE_MAX] for start in range(0, len(items), BUNDLE_MAX)]
    rows = [(*_row(route, part, delay_seconds), notify) for part in parts]
    await connection.executemany(statements.append_outbox, rows)


def must_notify(count: int) -> bool:
    """Whether the commit has to wake the relay: not under load, because PostgreSQL lets commits that notify run one by one.

    After a pass with several items the relay polls at short intervals.
    """
    global _loaded_at
    if count == 1:
        return True
    now = time.monotonic()
    last, _loaded_at = _loaded_at, now
    return now - last > NOTIFY_SECONDS


def _row(route: Route, items: Sequence[Item], delay_seconds: float) -> tuple[object, ...]:
    """A row is found by the smallest id of its items: the ids sort by time, so it is near the ids of the others."""
    row_id = min(item.id for item in items)
    return row_id, route.type, ",".join([i.body for i in items]), [i.subject_id for i in items], delay_seconds


async def measure(connection: Connection) -> Record:
    """`unpublished`: the number of items without a confirm; `lag_seconds`: the age of the oldest of them, None without any."""
    row = await connection.fetchrow(statements.measure_outbox)
    assert row is not None, "an aggregate always has a row"
    return row


class Relay:
    """Publishes the outbox of one database. Several may run: one has the lease, the others stand by."""

    def __init__(self, pool: Pool, publisher: Publisher, runtime: Runtime) -> None:
        self._pool = pool
        self._publisher = publisher
        self._runtime = runtime
        self._holder = f"{runtime.instance} {new_id()}"
        """The name of this relay in the lease. Processes can have the same instance name."""

        self._success = metrics.JOB_LAST_SUCCESS.labels(f"{runtime.service}-{runtime.role}")
        self._wakeup = asyncio.Event()
        self.failing: str | None = None
        """Why the last publish was not confirmed; None if it was."""
        self._stuck = False
        self.leads = False
        """Whether this relay had the lease at the last check; the others stand by."""

    async def ping(self) -> None:
        """Raise while no due row is published, whatever the reason; for `/readyz`."""
        if self._stuck:
            raise ConnectionError(f"nothing is published: {self.failing}")

    async def run(self) -> None:
        """Publish until the role stops. A notification or a poll finds new rows."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._release_lease)
            self._runtime.run_beside(stack, self._keep_lease())
            self._runtime.run_beside(stack, self._listen())
            self._runtime.run_beside(stack, self._measure())
            self._runtime.run_beside(stack, self._prune())
            await self._publish_all()

    async def _publish_all(self) -> None:
        failures, loaded_at = 0, -POLL_SECONDS
        while not self._runtime.stopping.is_set():
            try:
                published, failed = await self._pass()
            except (DatabaseUnavailable, LockTimeout):
                published, failed = 0, 1
            if published > 1:
                loaded_at = time.monotonic()
            failures = failures + 1 if failed and not published else 0
            if self.leads and not failures and not self._stuck:
                self._success.set_to_current_time()
            if failures:
                await self._runtime.pause(backoff.seconds(failures))
            else:
                await self._wait(time.monotonic() - loaded_at)

    async def _pass(self) -> tuple[int, int]:
        """Publish until nothing is due; return how many items were published and how many were not: (0, 0) without the lease.

        It ends early when nothing of what was read could be published.
        """
        published = failed = 0
        done: list[_Bundle] = []
        while rows := await self._mark_and_claim(done):
            bundles = list(_bundles(rows))
            now, started_ns = datetime.now(UTC), time.time_ns()
            results = await self._publisher.publish([bundle.message(now) for bundle in bundles])
            done = [bundle for bundle, error in zip(bundles, results, strict=True) if error is None]
            left = [bundle for bundle, error in zip(bundles, results, strict=True) if error is not None]
            if telemetry.recorder is not None:
                _record_spans(done, started_ns)
            published += sum(bundle.items for bundle in done)
            failed += sum(bundle.items for bundle in left)
            self._report(done, left, [error.reason for error in results if error is not None])
            if left:
                await self._postpone(left)
            if self._stuck:
                # Another relay may reach the broker. Without one, this relay is still named in the lease and continues.
                await self._release_lease()
                break
        return published, failed

    async def _mark_and_claim(self, done: Sequence[_Bundle]) -> Sequence[Record]:
        """Mark what is published, and read what is due; nothing once the role stops."""
        self._wakeup.clear()
        ids = _ids(done)
        async with database.connection(self._pool) as connection:
            rows: Sequence[Record] = await connection.fetch(
                statements.claim_outbox, self._holder, LEASE_SECONDS, CLAIM_MAX, list(ROUTES), EXAMINED_MAX, ids
            )
        if ids:
            crash_points.pass_by("after-commit", "mark_published")
        if rows:
            crash_points.pass_by("after-commit", "claim_outbox")
        return rows if not self._runtime.stopping.is_set() else ()

    async def _postpone(self, left: Sequence[_Bundle]) -> None:
        async with database.connection(self._pool) as connection:
            await connection.execute(statements.release_outbox, _ids(left), RELEASE_SECONDS)

    def _report(self, done: Sequence[_Bundle], left: Sequence[_Bundle], reasons: Sequence[str]) -> None:
        for reason in reasons:
            metrics.OUTBOX_FAILURES.labels(self._runtime.service, reason).inc()
        self.failing = min(reasons, default=None)
        self._stuck = bool(left and not done)
        if done:
            # A pass ends when nothing is due, which may take long under load.
            self._success.set_to_current_time()
        if left:
            items = sum(bundle.items for bundle in left)
            log.warning("outbox_publish_failed", items=items, reasons=sorted(set(reasons)))

    async def _wait(self, seconds: float) -> None:
        """Wait for a notification, but no longer than the time since the last load: commits under load may not notify."""
        try:
            async with asyncio.timeout(min(max(seconds, PAUSE_SECONDS_MIN), POLL_SECONDS)):
                await self._wakeup.wait()
        except TimeoutError:
            pass

    async def _keep_lease(self) -> None:
        """Take the lease when it is free, and renew it. A relay that is frozen does not, and another one takes it."""
        while True:
            try:
                await self._take_lease()
            except (DatabaseUnavailable, LockTimeout):
                log.debug("lease_not_renewed")
            await asyncio.sleep(RENEW_SECONDS)

    async def _take_lease(self) -> None:
        async with database.connection(self._pool) as connection:
            self.leads = bool(
                await connection.fetchval(statements.take_lease, self._holder, LEASE_SECONDS, self._stuck)
            )
        if not self.leads:
            # Another relay has the rows that failed here.
            self.failing, self._stuck = None, False

    async def _release_lease(self) -> None:
        """End the lease, so that another relay need not wait."""
        try:
            async with database.connection(self._pool) as connection:
                await connection.execute(statements.release_lease, self._holder)
        except (DatabaseUnavailable, LockTimeout):
            log.debug("lease_not_released")

    async def _listen(self) -> None:
        """Hold one connection on which the database notifies this relay; without it the poll still works."""
        while True:
            try:
                async with database.connection(self._pool) as connection:
                    await self._listen_on(connection)
            except (DatabaseUnavailable, LockTimeout):
                await asyncio.sleep(POLL_SECONDS)

    async def _listen_on(self, connection: Connection) -> None:
        gone = asyncio.Event()
        connection.add_termination_listener(lambda *_: gone.set())
        await connection.add_listener("outbox", self._notify)
        try:
            # The connection is returned from time to time: the pool closes it if it has replaced its connections.
            async with asyncio.timeout(LISTEN_SECONDS):
                await gone.wait()
        except TimeoutError:
            pass
        finally:
            if not connection.is_closed():
                await connection.remove_listener("outbox", self._notify)

    def _notify(self, *_: object) -> None:
        self._wakeup.set()

    async def _measure(self) -> None:
        """Update the gauges."""
        service = self._runtime.service
        while True:
            try:
                async with database.connection(self._pool) as connection:
                    row = await measure(connection)
                metrics.OUTBOX_UNPUBLISHED.labels(service).set(row["unpublished"])
                metrics.OUTBOX_LAG.labels(service).set(row["lag_seconds"] or 0)
                if not row["unpublished"]:
                    # Another relay has published the rows that failed here.
                    self.failing, self._stuck = None, False
            except (DatabaseUnavailable, LockTimeout):
                log.debug("outbox_not_measured")
            await asyncio.sleep(MEASURE_SECONDS)

    async def _prune(self) -> None:
        """Delete old published rows."""
        while True:
            try:
                async with database.connection(self._pool) as connection:
                    oldest_kept = first_id_at(time.time() - KEEP_PUBLISHED_SECONDS)
                    await connection.execute(statements.prune_outbox, oldest_kept, PRUNE_MAX)
            except (DatabaseUnavailable, LockTimeout):
                log.debug("outbox_not_pruned")
            await asyncio.sleep(PRUNE_SECONDS)


def _record_spans(bundles: Sequence[_Bundle], started_ns: int) -> None:
    """A span of each item that was published, under the trace context in its text."""
    for bundle in bundles:
        items = [item for row in bundle.rows for item in json.loads(f"[{row['body']}]")]
        telemetry.record(
            f"publish {bundle.route.type}",
            [telemetry.Item(item.get("traceparent"), {telemetry.TRANSFER_ID: item["transfer_id"]}) for item in items],
            kind=telemetry.PRODUCER,
            started_ns=started_ns,
        )


@dataclass(slots=True)
class _Bundle:
    """Rows of one topic that form one message."""

    route: Route
    rows: list[Record]
    items: int

    def message(self, sent_at: datetime) -> OutgoingMessage:
        body = encode_envelope(self.route, [row["body"] for row in self.rows], sent_at=sent_at)
        return OutgoingMessage(self.route.exchange, self.route.type, body)


def _ids(bundles: Sequence[_Bundle]) -> list[UUID]:
    return [row["id"] for bundle in bundles for row in bundle.rows]


def _bundles(rows: Sequence[Record]) -> Iterator[_Bundle]:
    """The rows as messages: by topic, in order, as many rows as fit into `BUNDLE_MAX` items."""
    open_bundles: dict[str, _Bundle] = {}
    for row in rows:
        bundle = open_bundles.get(row["topic"])
        if bundle is not None and bundle.items + row["items"] <= BUNDLE_MAX:
            bundle.rows.append(row)
            bundle.items += row["items"]
            continue
        open_bundles[row["topic"]] = started = _Bundle(ROUTES[row["topic"]], [row], row["items"])
        yield started
