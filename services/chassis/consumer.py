"""The consumer: the only module that acknowledges, delays and dead-letters messages.

A window is the messages that have arrived while the previous window was in flight. The handler gets all items of a window at
once and returns a verdict for each. An item that is not finalized is published alone to its delay or dead-letter queue; when all
these publishes are confirmed, the whole window is acknowledged with one frame. No message is ever rejected: if its dead-letter
queue did not exist, a rejected message would be lost.
"""

from __future__ import annotations

import asyncio
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
from aiormq.exceptions import ConnectionInternalError
from prometheus_client import Gauge

from services.chassis import backoff, broker, crash_points, halving, metrics, telemetry
from services.chassis.broker import ATTEMPTS, REASON, OutgoingMessage, Publisher
from services.chassis.leaderless import LeaderlessQueues
from services.chassis.roles import Runtime
from services.contracts.identifiers import new_id
from services.contracts.messages import Envelope, MalformedMessage, decode_envelope, encode_envelope
from services.contracts.refusal import Refusal, Unavailable
from services.contracts.topology import BUNDLE_MAX, DELAY_SECONDS, Queue, Route

PREFETCH = 16
WINDOW_MESSAGES_MAX = 8
"""At most half of the prefetch count, so that the next window arrives while this one is in flight."""

WINDOW_ITEMS_MAX = WINDOW_MESSAGES_MAX * BUNDLE_MAX
"""The most items that a handler gets at once. A message of an earlier release can have more than a handler can do in its time."""

ATTEMPTS_MAX = 8
WATCH_SECONDS = 5.0
CONSUME_SECONDS = 5.0
"""How long a queue may take to accept a consumer, when the broker has responded to everything else."""

Item = TypeVar("Item")
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Delivery(Generic[Item]):
    """One item as it arrived; `attempt` counts from 1 and increases only with failures of this item."""

    item: Item
    attempt: int
    redelivered: bool
    sent_at: datetime


@dataclass(frozen=True, slots=True)
class Retry:
    """Verdict: the item failed and may succeed later; after the last attempt it becomes a dead letter."""

    reason: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Verdict: the item needs an operator; a retry would not help."""

    reason: str


Verdict = Retry | DeadLetter | None
"""None: finalized, recorded, committed."""

Handle = Callable[[Sequence[Delivery[Item]]], Awaitable[Sequence[Verdict]]]


class WindowLost(Exception):  # noqa: N818 - reads as what it is
    """The channel was closed before the acknowledgement; the broker delivers the window again."""


@dataclass(slots=True)
class _Entry(Generic[Item]):
    """One item of the window, as JSON and decoded."""

    raw: dict[str, Any]
    delivery: Delivery[Item]


class WindowConsumer(ABC):
    """Consumes one queue in windows, and acknowledges a window when it is finalized."""

    def __init__(self, *, url: str, queue_name: str, runtime: Runtime) -> None:
        self._url = url
        self._queue_name = queue_name
        self._runtime = runtime
        self._connection: AbstractConnection | None = None
        self._consuming = self._working = False
        self._success: Gauge | None = None
        self._leaderless = LeaderlessQueues()
        self._arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        self._failures = 0

    async def run(self) -> None:
        """Consume until the role stops; reconnect after every failure."""
        while not self._runtime.stopping.is_set():
            try:
                await self._consume()
            except (*broker.UNAVAILABLE, WindowLost) as error:
                self._failures += 1
                log.warning("consumer_disconnected", queue=self._queue_name, error=type(error).__name__)
                await self._runtime.pause(backoff.seconds(self._failures))

    async def ping(self) -> None:
        """Raise unless this consumer is connected; for `/readyz`."""
        if self._connection is None or self._connection.is_closed:
            raise ConnectionError("not connected")

    async def ping_queue(self) -> None:
        """Raise unless the queue delivers to this consumer; for `/readyz`."""
        if not self._consuming:
            raise ConnectionError("not consuming")

    async def _consume(self) -> None:
        self._connection = await broker.connect(self._url, f"{self._runtime.instance} consumer")
        try:
            self._arrived = asyncio.Queue()
            # A frozen node does not respond at all: give up and reconnect.
            async with asyncio.timeout(broker.OPEN_SECONDS):
                channel = await self._connection.channel()
                await broker.declare(channel)
                await channel.set_qos(prefetch_count=PREFETCH)
                queue = await channel.get_queue(self._queue_name, ensure=False)
            tag = await self._start(queue)
            self._failures = 0
            log.info("consumer_started", queue=self._queue_name)
            watch = asyncio.create_task(self._watch(self._connection, channel))
            try:
                await self._consume_windows(channel, watch)
            finally:
                watch.cancel()
            await queue.cancel(tag)
        finally:
            self._consuming = self._working = False
            await _close_quietly(self._connection)

    async def _start(self, queue: AbstractQueue) -> str:
        try:
            async with asyncio.timeout(CONSUME_SECONDS):
                tag = await queue.consume(self._arrive)
        except (TimeoutError, ConnectionInternalError):
            # The broker knows the queue and has responded to everything else: the queue has no leader.
            self._leaderless.record_timeout(self._queue_name)
            raise
        self._leaderless.record_response(self._queue_name)
        self._consuming = True
        return tag

    async def _arrive(self, message: AbstractIncomingMessage) -> None:
        self._arrived.put_nowait(message)

    async def _watch(self, connection: AbstractConnection, channel: AbstractChannel) -> None:
        """Raise when this consumer can receive no more messages: its channel is closed, or the broker has dropped it."""
        closed = asyncio.Event()
        channel.close_callbacks.add(lambda *_: closed.set())
        while True:
            try:
                async with asyncio.timeout(WATCH_SECONDS):
                    await closed.wait()
                raise ConnectionError("the channel was closed")
            except TimeoutError:
                await self._probe(connection)
            if not self._working:
                self._record_success()

    async def _probe(self, connection: AbstractConnection) -> None:
        async with asyncio.timeout(WATCH_SECONDS):
            probe = await connection.channel()
            declared = await probe.declare_queue(self._queue_name, passive=True)
            await probe.close()
        if not declared.declaration_result.consumer_count:
            raise ConnectionError("the broker has dropped this consumer")

    async def _consume_windows(self, channel: AbstractChannel, watch: asyncio.Task[None]) -> None:
        stopping = asyncio.create_task(self._runtime.until_stopped())
        try:
            while not self._runtime.stopping.is_set():
                first = asyncio.create_task(self._arrived.get())
                await asyncio.wait({first, stopping, watch}, return_when=asyncio.FIRST_COMPLETED)
                if not first.done():
                    first.cancel()
                    if watch.done():
                        raise WindowLost from watch.exception()
                    return
                self._working = True
                await self._work(channel, watch, self._gather(first.result()))
                self._working = False
                self._record_success()
        finally:
            stopping.cancel()

    def _record_success(self) -> None:
        if self._success is not None:
            self._success.set_to_current_time()

    def _gather(self, first: AbstractIncomingMessage) -> list[AbstractIncomingMessage]:
        """The messages that have arrived, up to the size of a window. One message holds at most a bundle of items."""
        window = [first]
        while not self._arrived.empty() and len(window) < WINDOW_MESSAGES_MAX:
            window.append(self._arrived.get_nowait())
        return window

    async def _work(
        self,
        channel: AbstractChannel,
        watch: asyncio.Task[None],
        window: list[AbstractIncomingMessage],
    ) -> None:
        await self._finalize(channel, watch, window)
        # The result of each message is safe now. One frame acknowledges all messages up to the last.
        crash_points.pass_by("before-ack", self._queue_name)
        await window[-1].ack(multiple=True)
        crash_points.pass_by("after-ack", self._queue_name)

    @abstractmethod
    async def _finalize(
        self, channel: AbstractChannel, watch: asyncio.Task[None], window: list[AbstractIncomingMessage]
    ) -> None:
        """Return when the result of each message is safe; then the window is acknowledged."""

    async def _pause(self, channel: AbstractChannel, watch: asyncio.Task[None], seconds: float) -> None:
        await self._runtime.pause(seconds)
        if channel.is_closed or watch.done() or self._runtime.stopping.is_set():
            raise WindowLost


class Consumer(WindowConsumer, Generic[Item]):
    """Consumes one queue of envelopes, and passes the items of a window to its handler."""

    def __init__(
        self,
        *,
        url: str,
        queue: Queue,
        route: Route,
        decode: Callable[[dict[str, Any]], Item],
        handle: Handle[Item],
        runtime: Runtime,
        attempts_max: int = ATTEMPTS_MAX,
    ) -> None:
        """`decode` raises MalformedMessage for an item that this version cannot read.

        `handle` raises Unavailable when a dependency is unavailable: then this consumer pauses and keeps its window.
        """
        super().__init__(url=url, queue_name=queue.name, runtime=runtime)
        self._queue = queue
        self._route = route
        self._decode = decode
        self._handle = telemetry.traced(queue.name, handle)
        self._attempts_max = attempts_max
        self._publisher = Publisher(url, runtime.instance)
        self._unacked = metrics.QUEUE_MESSAGES.labels(queue.name, "unacked")
        self._success = metrics.JOB_LAST_SUCCESS.labels(f"{runtime.service}-{runtime.role}")

    async def run(self) -> None:
        """Consume until the role stops; reconnect after every failure."""
        await super().run()
        await self._publisher.close()

    async def _work(
        self, channel: AbstractChannel, watch: asyncio.Task[None], window: list[AbstractIncomingMessage]
    ) -> None:
        self._unacked.set(len(window) + self._arrived.qsize())
        await super()._work(channel, watch, window)
        self._unacked.set(self._arrived.qsize())

    async def _finalize(
        self, channel: AbstractChannel, watch: asyncio.Task[None], window: list[AbstractIncomingMessage]
    ) -> None:
        entries, exceptions = self._read(window)
        verdicts = await self._evaluate(channel, watch, entries)
        for entry, verdict in zip(entries, verdicts, strict=True):
            if verdict is not None:
                exceptions.append(self._exception(entry, verdict))
        await self._finalize_exceptions(channel, watch, exceptions)

    def _read(self, window: Sequence[AbstractIncomingMessage]) -> tuple[list[_Entry[Item]], list[OutgoingMessage]]:
        entries: list[_Entry[Item]] = []
        poison: list[OutgoingMessage] = []
        for message in window:
            try:
                envelope = decode_envelope(self._route, message.body)
            except MalformedMessage as error:
                poison.append(self._dead_letter(message.body, 0, f"malformed: {error}"))
                continue
            for raw in envelope.items:
                try:
                    entries.append(self._entry(message, envelope, raw))
                except MalformedMessage as error:
                    poison.append(self._dead_letter(self._alone(raw), 0, f"malformed: {error}"))
        return entries, poison

    def _entry(self, message: AbstractIncomingMessage, envelope: Envelope, raw: dict[str, Any]) -> _Entry[Item]:
        attempts = message.headers.get(ATTEMPTS)
        failed = attempts if isinstance(attempts, int) and len(envelope.items) == 1 else 0
        return _Entry(
            raw,
            Delivery(
                item=self._decode(raw),
                attempt=failed + 1,
                redelivered=bool(message.redelivered),
                sent_at=envelope.sent_at,
            ),
        )

    async def _evaluate(
        self, channel: AbstractChannel, watch: asyncio.Task[None], entries: Sequence[_Entry[Item]]
    ) -> list[Verdict]:
        """Return the verdicts of the handler. A window that fails as a whole is halved until the bad item is alone."""

        async def handle(part: Sequence[_Entry[Item]]) -> Sequence[Verdict]:
            return await self._handle_or_wait(channel, watch, part)

        verdicts: list[Verdict] = []
        for start in range(0, len(entries), WINDOW_ITEMS_MAX):
            part = entries[start : start + WINDOW_ITEMS_MAX]
            verdicts += await halving.run(part, handle, on_failure=self._fail, raises=(WindowLost,))
        return verdicts

    async def _handle_or_wait(
        self, channel: AbstractChannel, watch: asyncio.Task[None], entries: Sequence[_Entry[Item]]
    ) -> Sequence[Verdict]:
        pauses = 0
        while True:
            try:
                return await self._handle([entry.delivery for entry in entries])
            except Unavailable as unavailable:
                # No item is at fault, so no attempt is counted. Keep the window and wait.
                pauses += 1
                log.warning("consumer_paused", queue=self._queue.name, items=len(entries), reason=unavailable.code)
                await self._pause(channel, watch, backoff.seconds(pauses))

    def _fail(self, _entry: _Entry[Item], error: Exception) -> Verdict:
        log.error("message_handling_failed", queue=self._queue.name, exc_info=error)
        return Retry(error.code if isinstance(error, Refusal) else type(error).__name__)

    def _exception(self, entry: _Entry[Item], verdict: Retry | DeadLetter) -> OutgoingMessage:
        body = self._alone(entry.raw)
        attempt = entry.delivery.attempt
        if isinstance(verdict, DeadLetter):
            return self._dead_letter(body, attempt, verdict.reason)
        if attempt >= self._attempts_max:
            return self._dead_letter(body, attempt, f"attempts_max: {verdict.reason}")
        seconds = DELAY_SECONDS[min(attempt, len(DELAY_SECONDS)) - 1]
        metrics.DELAYED.labels(self._queue.name).inc()
        return OutgoingMessage(
            exchange="",
            routing_key=self._queue.delay(seconds),
            body=body,
            headers={ATTEMPTS: attempt},
            # Jitter: at most the time limit of the queue.
            expires_after_seconds=seconds * random.uniform(0.5, 1.0),  # noqa: S311 - spreads retries, guards nothing
        )

    def _dead_letter(self, body: bytes, attempt: int, reason: str) -> OutgoingMessage:
        metrics.DEAD_LETTERED.labels(self._queue.name, reason.partition(":")[0]).inc()
        log.error("message_dead_lettered", queue=self._queue.name, attempt=attempt, reason=reason)
        return OutgoingMessage(
            exchange="",
            routing_key=self._queue.dead_letter,
            body=body,
            headers={ATTEMPTS: attempt, REASON: reason[:500]},
            # The archiver recognises a second copy of this message by it.
            message_id=str(new_id()),
        )

    def _alone(self, raw: dict[str, Any]) -> bytes:
        return encode_envelope(self._route, [json.dumps(raw)], sent_at=datetime.now(UTC))

    async def _finalize_exceptions(
        self, channel: AbstractChannel, watch: asyncio.Task[None], exceptions: list[OutgoingMessage]
    ) -> None:
        """Publish the items that are not finalized and wait for every confirm; until then the window stays unacknowledged."""
        tries = 0
        while exceptions:
            results = await self._publisher.publish(exceptions)
            exceptions = [message for message, failed in zip(exceptions, results, strict=True) if failed is not None]
            if exceptions:
                tries += 1
                await self._pause(channel, watch, backoff.seconds(tries))


async def _close_quietly(connection: AbstractConnection) -> None:
    try:
        async with asyncio.timeout(2):
            await connection.close()
    except broker.UNAVAILABLE:
        pass
