"""Composition of the api role."""

from __future__ import annotations

from contextlib import AsyncExitStack

from services.chassis import database, readiness, server
from services.chassis.dead_letter_api import DeadLetterApi
from services.chassis.roles import Runtime
from services.chassis.service_tokens import TokenVerifier
from services.contracts.topology import FINALIZED_QUEUE
from services.notification import api, replay, store
from services.notification.settings import ApiSettings


async def serve_api(settings: ApiSettings, runtime: Runtime) -> None:
    """The api role: every route of the notification service."""
    async with AsyncExitStack() as stack:
        pool, read_pool = await database.open_service_pools(
            stack,
            settings.notification_database_url.get_secret_value(),
            name=runtime.instance,
            size_max=settings.notification_pool_size_max,
            read_size_max=settings.notification_read_pool_size_max,
            server_settings=store.PLANNER,
            read_settings=store.PLANNER | database.READ_LIMITS,
        )
        await readiness.register(runtime, pool, read_pool).wait(runtime, serves=True)
        app = server.application("notification")
        app[api.POOL] = pool
        app[api.READ_POOL] = read_pool
        dead_letter_api = DeadLetterApi(
            pool,
            FINALIZED_QUEUE,
            read_pool=read_pool,
            broker_url=settings.rabbitmq_url.get_secret_value(),
            instance=runtime.instance,
            preview=replay.previewer(read_pool),
        )
        verifier = TokenVerifier(settings.identity_keys.public_keys, audience="notification")
        api.add_routes(app, verifier)
        dead_letter_api.add_routes(app, verifier)
        await server.serve(app, runtime, host=settings.host, port=settings.notification_port)
