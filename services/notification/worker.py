"""The worker: records the notifications and events of each outcome. One window, one database transaction."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

import structlog

from services.chassis import backoff, broker, database, readiness
from services.chassis.client import Upstream
from services.chassis.consumer import Consumer, Delivery, Handle, Verdict
from services.chassis.database import LockTimeout, Pool, Uuid
from services.chassis.dead_letter_archiver import Archiver
from services.chassis.roles import Runtime
from services.contracts.messages import TransferEvent, decode_event
from services.contracts.refusals.notification import RecordingContended
from services.contracts.topology import FINALIZED_QUEUE, TRANSFERS_FINALIZED
from services.notification import catch_up, commands, late, pending, retention, store
from services.notification.poller import Poller
from services.notification.settings import WORKER_POOL_SIZE_MAX, WorkerSettings
from services.notification.wakeup import FeedWakeup

# One window at a time; beside it the catch-up, the two pollers, the dead letters and a ping. The retention waits
# for one of their connections.

log = structlog.get_logger()


async def serve_worker(settings: WorkerSettings, runtime: Runtime) -> None:
    """The worker role: consume events until it stops."""
    async with AsyncExitStack() as stack:
        pool = await database.open_pool(
            settings.notification_database_url.get_secret_value(),
            name=runtime.instance,
            size_max=WORKER_POOL_SIZE_MAX,
            server_settings=store.PLANNER,
        )
        stack.push_async_callback(database.close_pool, pool)
        with_deliveries = settings.smtp_url is not None
        wakeup = FeedWakeup(settings.redis_url.get_secret_value() if settings.redis_url else None)
        stack.push_async_callback(wakeup.close)
        consumer = Consumer(
            url=settings.rabbitmq_url.get_secret_value(),
            queue=FINALIZED_QUEUE,
            route=TRANSFERS_FINALIZED,
            decode=partial(decode_event, id_class=Uuid),
            handle=recorder(pool, wakeup, with_deliveries=with_deliveries),
            runtime=runtime,
        )
        schema = readiness.register(runtime, pool)
        runtime.health.register("rabbitmq", consumer.ping)
        runtime.health.register("queue", consumer.ping_queue)
        await schema.wait(runtime)
        runtime.health.starting = False
        archiver = Archiver(pool, url=settings.rabbitmq_url.get_secret_value(), queue=FINALIZED_QUEUE, runtime=runtime)
        runtime.run_beside(stack, archiver.run())
        runtime.run_beside(stack, archiver.measure())
        runtime.run_beside(stack, delete_retired_queues(settings.rabbitmq_url.get_secret_value(), runtime))
        transaction = Upstream(runtime.service, "transaction", settings.transaction_url, settings.identity_keys)
        stack.push_async_callback(transaction.close)
        catching_up = catch_up.CatchUp(pool, transaction, wakeup, with_deliveries=with_deliveries)
        runtime.run_beside(stack, catching_up.run(runtime, every_seconds=settings.catch_up_seconds))
        runtime.run_beside(stack, Poller(pending.SOURCE, pool, transaction, wakeup=wakeup).run(runtime))
        runtime.run_beside(stack, Poller(late.SOURCE, pool, transaction, wakeup=wakeup).run(runtime))
        days = settings.notification_retention_days
        removing = retention.Retention(pool, days=days, event_days=settings.event_retention_days)
        runtime.run_beside(stack, removing.run(runtime))
        await consumer.run()


async def delete_retired_queues(url: str, runtime: Runtime) -> None:
    """Delete the queues of earlier versions once, and try again until it succeeds.

    A process of an earlier version declares its queues again; the next worker that starts deletes them.
    """
    failures = 0
    while not runtime.stopping.is_set():
        try:
            await broker.delete_retired_queues(url, f"{runtime.instance} retired queues")
        except broker.UNAVAILABLE as error:
            failures += 1
            log.warning("retired_queues_not_deleted", error=type(error).__name__)
            await runtime.pause(backoff.seconds(failures))
        else:
            return


def recorder(pool: Pool, wakeup: FeedWakeup, *, with_deliveries: bool) -> Handle[TransferEvent]:
    """The handler of finalized transfers."""

    async def on_transfers_finalized(window: Sequence[Delivery[TransferEvent]]) -> list[Verdict]:
        try:
            recorded = await commands.record_events(
                pool, [delivery.item for delivery in window], with_deliveries=with_deliveries
            )
        except LockTimeout as error:
            # Another worker is recording a copy, or froze while it did. Not a failed attempt: keep the window and wait.
            raise RecordingContended from error
        wakeup.notify(recorded.user_ids)
        log.info(
            "notifications_recorded",
            events_count=recorded.events_count,
            notifications_count=recorded.notifications_count,
            repeats_count=recorded.repeats_count,
        )
        return [None] * len(window)

    return on_transfers_finalized
