"""The outbox: rows appended in the business commit, and the relay that publishes them with confirms.

A row is claimed (a lease, committed), published, and marked. If a relay dies in between, its lease expires and the row is
published again: at least once. Consumers recognise the second copy by its id.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import asyncpg
import structlog

from services.chassis import backoff, crash_points, database, metrics
from services.chassis.broker import OutgoingMessage, Publisher
from services.chassis.database import Connection, DatabaseUnavailable, LockTimeout, Pool, Record
from services.chassis.roles import Runtime
from services.chassis.statements import Statements
from services.contracts.identifiers import first_id_at
from services.contracts.messages import encode_envelope
from services.contracts.topology import BUNDLE_MAX, ROUTES, Route

CLAIM_MAX = 512
LEASE_SECONDS = 10.0
RELEASE_SECONDS = 1.0
POLL_SECONDS = 0.5
LISTEN_SECONDS = 30.0
MEASURE_SECONDS = 1.0
KEEP_PUBLISHED_SECONDS = 600.0
"""How long a published row is kept, for the timeline: it records when the row was queued."""

PRUNE_SECONDS = 10.0
PRUNE_MAX = 20_000

statements = Statements(Path(__file__).parent / "sql" / "queries.sql")
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Row:
    """One item to publish: `id` is the id by which consumers recognise it, `body` its JSON text."""

    id: UUID
    body: str


async def append(connection: Connection, route: Route, rows: Sequence[Row]) -> None:
    """Write rows in the transaction of the caller; the relay is notified when it commits."""
    await connection.execute(statements.append_outbox, route.type, [row.id for row in rows], [row.body for row in rows])


async def delay(connection: Connection, ids: Sequence[UUID], seconds: float) -> None:
    """Delay the publication of rows, from the commit of the caller on: as if a relay had claimed them."""
    await connection.execute(statements.release_outbox, ids, seconds)


async def measure(connection: Connection) -> Record:
    """`unpublished`: the number of rows without a confirm; `lag_seconds`: the age of the oldest of them, None without any."""
    row = await connection.fetchrow(statements.measure_outbox)
    assert row is not None, "an aggregate always has a row"
    return row


class Relay:
    """Publishes the outbox of one database. Several may run: claims do not overlap."""

    def __init__(self, pool: Pool, publisher: Publisher, runtime: Runtime) -> None:
        self._pool = pool
        self._publisher = publisher
        self._runtime = runtime
        self._wakeup = asyncio.Event()
        self.failing: str | None = None
        """Why the last publish was not confirmed; None if it was."""
        self._stuck = False

    async def ping(self) -> None:
        """Raise while no due row is published, whatever the reason; for `/readyz`."""
        if self._stuck:
            raise ConnectionError(f"nothing is published: {self.failing}")

    async def run(self) -> None:
        """Publish until the role stops. A notification wakes the relay; a poll finds rows that a dead process has claimed."""
        async with AsyncExitStack() as stack:
            self._runtime.run_beside(stack, self._listen())
            self._runtime.run_beside(stack, self._measure())
            self._runtime.run_beside(stack, self._prune())
            await self._publish_all()

    async def _publish_all(self) -> None:
        failures = 0
        while not self._runtime.stopping.is_set():
            self._wakeup.clear()
            try:
                published, failed = await self._pass()
            except (DatabaseUnavailable, LockTimeout):
                published, failed = 0, 1
            failures = failures + 1 if failed and not published else 0
            if failures:
                await self._runtime.pause(backoff.seconds(failures))
            elif not published:
                await self._wait()

    async def _pass(self) -> tuple[int, int]:
        """Claim, publish and mark; return how many rows were published and how many were not."""
        async with database.connection(self._pool) as connection:
            claimed = await connection.fetch(statements.claim_outbox, CLAIM_MAX, LEASE_SECONDS)
        if not claimed:
            return 0, 0
        crash_points.pass_by("after-commit", "claim_outbox")
        bundles = list(_bundles(claimed))
        results = await self._publisher.publish([message for message, _ in bundles])
        done: list[UUID] = []
        left: list[UUID] = []
        for (_, ids), failed in zip(bundles, results, strict=True):
            (done if failed is None else left).extend(ids)
        for failed in results:
            if failed is not None:
                metrics.OUTBOX_FAILURES.labels(self._runtime.service, failed.reason).inc()
        async with database.connection(self._pool) as connection:
            if done:
                await connection.execute(statements.mark_published, done)
            if left:
                await connection.execute(statements.release_outbox, left, RELEASE_SECONDS)
        crash_points.pass_by("after-commit", "mark_published")
        reasons = sorted({failed.reason for failed in results if failed is not None})
        self.failing = reasons[0] if reasons else None
        self._stuck = bool(left and not done)
        if left:
            log.warning("outbox_publish_failed", rows=len(left), reasons=reasons)
        return len(done), len(left)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._wakeup.wait()
        except TimeoutError:
            pass

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


def _bundles(claimed: Sequence[asyncpg.Record]) -> list[tuple[OutgoingMessage, list[UUID]]]:
    """The claimed rows as messages: by topic, at most `BUNDLE_MAX` rows each, one row when idle."""
    by_topic: dict[str, list[asyncpg.Record]] = {}
    for row in sorted(claimed, key=lambda row: row["id"]):
        by_topic.setdefault(row["topic"], []).append(row)
    now = datetime.now(UTC)
    return [
        (
            _message(ROUTES[topic], rows[start : start + BUNDLE_MAX], now),
            [r["id"] for r in rows[start : start + BUNDLE_MAX]],
        )
        for topic, rows in by_topic.items()
        for start in range(0, len(rows), BUNDLE_MAX)
    ]


def _message(route: Route, rows: Sequence[asyncpg.Record], sent_at: datetime) -> OutgoingMessage:
    return OutgoingMessage(
        route.exchange,
        route.type,
        encode_envelope(route, [row["body"] for row in rows], sent_at=sent_at),
    )
