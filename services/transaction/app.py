"""Composition of the transaction service's roles."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta

from services.chassis import database, readiness, server
from services.chassis.broker import Publisher
from services.chassis.client import Upstream
from services.chassis.consumer import Consumer
from services.chassis.database import Pool
from services.chassis.dead_letter_api import DeadLetterApi
from services.chassis.dead_letter_archiver import Archiver
from services.chassis.outbox import Relay
from services.chassis.readiness import Schema
from services.chassis.roles import Runtime
from services.chassis.service_tokens import TokenVerifier
from services.chassis.settings import EngineUrl, RoleSettings
from services.contracts.messages import decode_command
from services.contracts.topology import REQUESTED_QUEUE, TRANSFERS_REQUESTED
from services.transaction import api, replay, reversal
from services.transaction.auth_client import AuthClient
from services.transaction.backlog import Backlog
from services.transaction.intake import Intake
from services.transaction.monitor import Monitor
from services.transaction.settings import (
    BACKGROUND_POOL_SIZE_MAX,
    ApiSettings,
    RelaySettings,
    ReversalSettings,
    WorkerSettings,
)
from services.transaction.waiting import Waiting
from services.transaction.wallet_client import WalletClient
from services.transaction.worker import Worker

# For statements over arrays of ids, as in the wallet service. Concurrent duplicates of one idempotency key wait for each other
# at most a second: half of it in a batch, half of it alone.
PLANNER = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "enable_mergejoin": "off", "jit": "off"}
INTAKE_SETTINGS = PLANNER | {"lock_timeout": "500ms"}
READ_SETTINGS = PLANNER | database.READ_LIMITS


async def serve_api(settings: ApiSettings, runtime: Runtime) -> None:
    """The api role: accept, read and cancel transfers."""
    async with AsyncExitStack() as stack:
        pool, read_pool = await database.open_service_pools(
            stack,
            settings.transaction_database_url.get_secret_value(),
            name=runtime.instance,
            size_max=settings.transaction_pool_size_max,
            read_size_max=settings.transaction_read_pool_size_max,
            server_settings=INTAKE_SETTINGS,
            read_settings=READ_SETTINGS,
        )
        # Readiness does not depend on the read pool: the role accepts payments while reads are slow.
        await readiness.register(runtime, pool, read_pool).wait(runtime, serves=True)
        wallet = WalletClient(_open_upstream(stack, "wallet", settings.wallet_url, settings))
        auth = AuthClient(_open_upstream(stack, "auth", settings.auth_url, settings))
        backlog = Backlog(pool, seconds_max=settings.backlog_seconds_max)
        runtime.run_beside(stack, backlog.run())
        app = server.application("transaction")
        app[api.POOL] = pool
        app[api.READ_POOL] = read_pool
        app[api.WALLET] = wallet
        app[api.WAITING] = Waiting(pool)
        app[api.BACKLOG] = backlog
        app[api.SIMULATES] = settings.demo
        app[api.INTAKE] = Intake(
            pool,
            wallet=wallet,
            auth=auth,
            reversal_after=timedelta(seconds=settings.reversal_after_seconds),
            expect_seconds=lambda: backlog.expected_seconds,
        )
        verifier = TokenVerifier(settings.identity_keys.public_keys, audience="transaction")
        api.add_routes(app, verifier)
        _dead_letter_api(settings, runtime, pool=pool, read_pool=read_pool).add_routes(app, verifier)
        await server.serve(app, runtime, host=settings.host, port=settings.transaction_port)


def _dead_letter_api(settings: ApiSettings, runtime: Runtime, *, pool: Pool, read_pool: Pool) -> DeadLetterApi:
    return DeadLetterApi(
        pool,
        REQUESTED_QUEUE,
        read_pool=read_pool,
        broker_url=settings.rabbitmq_url.get_secret_value(),
        instance=runtime.instance,
        preview=replay.previewer(read_pool),
    )


async def serve_relay(settings: RelaySettings, runtime: Runtime) -> None:
    """The relay role: publish the outbox, archive dead letters, measure the queue."""
    async with AsyncExitStack() as stack:
        pool, schema = await _open_pool(stack, settings.transaction_database_url, runtime)
        publisher = Publisher(settings.rabbitmq_url.get_secret_value(), runtime.instance)
        stack.push_async_callback(publisher.close)
        runtime.health.register("rabbitmq", publisher.ping)
        relay = Relay(pool, publisher, runtime)
        runtime.health.register("outbox", relay.ping)
        await schema.wait(runtime)
        runtime.health.starting = False
        monitor = Monitor(pool, publisher, relay, runtime.instance)
        runtime.run_beside(stack, monitor.run())
        runtime.run_beside(stack, monitor.run_heartbeat())
        runtime.run_beside(stack, monitor.run_deletion())
        archiver = Archiver(pool, url=settings.rabbitmq_url.get_secret_value(), queue=REQUESTED_QUEUE, runtime=runtime)
        runtime.run_beside(stack, archiver.run())
        runtime.run_beside(stack, archiver.measure())
        await relay.run()


async def serve_worker(settings: WorkerSettings, runtime: Runtime) -> None:
    """The worker role: post the commands of the queue in the wallet and record the outcomes."""
    async with AsyncExitStack() as stack:
        pool, schema = await _open_pool(stack, settings.transaction_database_url, runtime)
        wallet = WalletClient(_open_upstream(stack, "wallet", settings.wallet_url, settings))
        worker = Worker(pool, wallet, runtime.instance)
        consumer = Consumer(
            url=settings.rabbitmq_url.get_secret_value(),
            queue=REQUESTED_QUEUE,
            route=TRANSFERS_REQUESTED,
            decode=decode_command,
            handle=worker.on_transfers_requested,
            runtime=runtime,
            attempts_max=settings.consumer_attempts_max,
        )
        runtime.health.register("rabbitmq", consumer.ping)
        runtime.health.register("queue", consumer.ping_queue)
        runtime.health.register("wallet", wallet.ping)
        await schema.wait(runtime)
        runtime.health.starting = False
        runtime.run_beside(stack, worker.run_heartbeat())
        await consumer.run()


async def serve_reversal(settings: ReversalSettings, runtime: Runtime) -> None:
    """The reversal role: void and finalize expired transfers."""
    async with AsyncExitStack() as stack:
        # It does not wait for the schema: it may have little time, and a pass that fails holds nothing.
        pool, _ = await _open_pool(stack, settings.transaction_database_url, runtime)
        wallet = WalletClient(_open_upstream(stack, "wallet", settings.wallet_url, settings))
        runtime.health.register("wallet", wallet.ping)
        runtime.health.starting = False
        await reversal.run(
            pool,
            wallet,
            runtime,
            every_seconds=settings.reversal_every_seconds,
            seconds_max=settings.reversal_seconds_max,
        )


async def _open_pool(stack: AsyncExitStack, url: EngineUrl, runtime: Runtime) -> tuple[Pool, Schema]:
    """The pool of a role that serves no requests, and its schema."""
    pool = await database.open_pool(
        url.get_secret_value(), name=runtime.instance, size_max=BACKGROUND_POOL_SIZE_MAX, server_settings=PLANNER
    )
    stack.push_async_callback(database.close_pool, pool)
    return pool, readiness.register(runtime, pool)


def _open_upstream(stack: AsyncExitStack, name: str, url: str, settings: RoleSettings) -> Upstream:
    upstream = Upstream("transaction", name, url, settings.identity_keys)
    stack.push_async_callback(upstream.close)
    return upstream
