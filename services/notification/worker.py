"""The worker: every outcome of a transfer is told to those whom it concerns. One window, one database transaction."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

import structlog

from services.chassis import database, readiness
from services.chassis.client import Upstream
from services.chassis.consumer import Consumer, Delivery, Handle, Verdict
from services.chassis.database import LockTimeout, Pool
from services.chassis.dead_letter_keeper import Keeper
from services.chassis.roles import Runtime
from services.contracts.messages import TransferEvent, decode_event
from services.contracts.topology import SETTLED_QUEUE, TRANSFERS_SETTLED
from services.notification import catch_up, commands, pending, store
from services.notification.bell import FeedBell
from services.notification.errors import RecordingContended
from services.notification.settings import WorkerSettings

# One window at a time, the catch-up, the watch over what is pending, the dead letters and a ping beside it.
POOL_SIZE_MAX = 5

log = structlog.get_logger()


async def serve_worker(settings: WorkerSettings, runtime: Runtime) -> None:
    """The worker role: consume until told to stop."""
    async with AsyncExitStack() as stack:
        pool = await database.open_pool(
            settings.notification_database_url.get_secret_value(),
            name=runtime.instance,
            size_max=POOL_SIZE_MAX,
            server_settings=store.PLANNER,
        )
        stack.push_async_callback(database.close_pool, pool)
        with_deliveries = settings.smtp_url is not None
        bell = FeedBell(settings.redis_url.get_secret_value() if settings.redis_url else None)
        stack.push_async_callback(bell.close)
        consumer = Consumer(
            url=settings.rabbitmq_url.get_secret_value(),
            queue=SETTLED_QUEUE,
            route=TRANSFERS_SETTLED,
            decode=decode_event,
            handle=recorder(pool, bell, with_deliveries=with_deliveries),
            runtime=runtime,
        )
        runtime.health.register("postgres", readiness.Readiness(pool).ping)
        runtime.health.register("rabbitmq", consumer.ping)
        runtime.health.register("queue", consumer.ping_queue)
        keeper = Keeper(pool, url=settings.rabbitmq_url.get_secret_value(), queue=SETTLED_QUEUE, runtime=runtime)
        runtime.run_beside(stack, keeper.run())
        runtime.run_beside(stack, keeper.measure())
        transaction = Upstream(runtime.service, "transaction", settings.transaction_url, settings.identity_keys)
        stack.push_async_callback(transaction.close)
        catching_up = catch_up.CatchUp(pool, transaction, bell, with_deliveries=with_deliveries)
        runtime.run_beside(stack, catching_up.run(runtime, every_seconds=settings.catch_up_seconds))
        runtime.run_beside(stack, pending.PendingWatch(pool, transaction, bell).run(runtime))
        await consumer.run()


def recorder(pool: Pool, bell: FeedBell, *, with_deliveries: bool) -> Handle[TransferEvent]:
    """The handler of settled transfers."""

    async def on_transfers_settled(window: Sequence[Delivery[TransferEvent]]) -> list[Verdict]:
        try:
            recorded = await commands.record_events(
                pool, [delivery.item for delivery in window], with_deliveries=with_deliveries
            )
        except LockTimeout as error:
            # Another worker is telling a copy of this, or froze while it did. Nobody's fault: keep the window and wait.
            raise RecordingContended from error
        bell.ring(recorded.user_ids)
        log.info(
            "notices_recorded",
            events_count=recorded.events_count,
            notices_count=recorded.notices_count,
            repeats_count=recorded.repeats_count,
        )
        return [None] * len(window)

    return on_transfers_settled
