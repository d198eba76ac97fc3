"""Composition of the wallet's roles."""

from __future__ import annotations

from contextlib import AsyncExitStack

from services.chassis import database, server
from services.chassis.roles import Runtime
from services.chassis.service_tokens import TokenVerifier
from services.wallet import api
from services.wallet.proof import watch_drift
from services.wallet.settings import WalletSettings

# Statements over arrays of ids: the planner's guess for a table that was just created is a sequential scan or a merge
# join, ten times slower; the generic plan with index look-ups is right at every size.
PLANNER = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "enable_mergejoin": "off", "jit": "off"}


async def serve_api(settings: WalletSettings, runtime: Runtime) -> None:
    """The api role: every route of the wallet."""
    async with AsyncExitStack() as stack:
        pool = await database.open_pool(
            settings.wallet_database_url.get_secret_value(),
            name=runtime.instance,
            size_max=settings.wallet_pool_size_max,
            server_settings=PLANNER,
        )
        stack.push_async_callback(database.close_pool, pool)
        proof_pool = await database.open_pool(
            settings.wallet_proof_database_url.get_secret_value(),
            name=f"{runtime.instance} proof",
            size_max=2,
            command_seconds=120.0,
        )
        stack.push_async_callback(database.close_pool, proof_pool)
        runtime.health.register("postgres", lambda: database.ping(pool))
        runtime.run_beside(stack, watch_drift(proof_pool))
        app = server.application("wallet")
        app[api.POOL] = pool
        app[api.PROOF_POOL] = proof_pool
        app[api.LAST_PROOF] = []
        api.add_routes(app, TokenVerifier(settings.identity_keys.public_keys, audience="wallet"))
        await server.serve(app, runtime, host=settings.host, port=settings.wallet_port)
