"""Composition of the wallet's roles."""

from __future__ import annotations

from contextlib import AsyncExitStack

from services.chassis import database, readiness, server
from services.chassis.replica import Reader
from services.chassis.roles import Runtime
from services.chassis.service_tokens import TokenVerifier
from services.wallet import api
from services.wallet.proof import watch_drift
from services.wallet.proof_runner import ProofRunner
from services.wallet.sealer import Sealer
from services.wallet.settings import (
    DRIFT_POOL_SIZE_MAX,
    PROOF_POOL_SIZE_MAX,
    SEAL_POOL_SIZE_MAX,
    SealSettings,
    WalletSettings,
)

# For statements over arrays of ids: for a new table the planner chooses a sequential scan or a merge join, ten times slower. The
# generic plan with index look-ups is right at every size.
PLANNER = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "enable_mergejoin": "off", "jit": "off"}


ALONE = {"max_parallel_workers_per_gather": "0"}
"""For background work: its pauses follow from its duration, so it must not use several processors at once."""

LONG_SECONDS = 120.0
"""For statements that read whole tables; their database roles have this limit, too."""


async def serve_api(settings: WalletSettings, runtime: Runtime) -> None:
    """The api role: every route of the wallet."""
    async with AsyncExitStack() as stack:
        pool, read_pool = await database.open_service_pools(
            stack,
            settings.wallet_database_url.get_secret_value(),
            name=runtime.instance,
            size_max=settings.wallet_pool_size_max,
            read_size_max=settings.wallet_read_pool_size_max,
            server_settings=PLANNER,
            read_settings=PLANNER | database.READ_LIMITS,
        )
        proof_url = settings.wallet_proof_database_url.get_secret_value()
        proof_pool = await _open_proof_pool(
            stack, proof_url, name=f"{runtime.instance} proof", size_max=PROOF_POOL_SIZE_MAX
        )
        # Of its own: proofs that are requested must not stop the measurement of the drift, which has an alert.
        drift_pool = await _open_proof_pool(
            stack, proof_url, name=f"{runtime.instance} drift", size_max=DRIFT_POOL_SIZE_MAX
        )
        reader = await _open_reader(settings, read_pool, runtime=runtime, stack=stack)
        await readiness.register(runtime, pool, read_pool, proof_pool, drift_pool).wait(runtime, serves=True)
        runtime.run_beside(stack, watch_drift(drift_pool))
        proof_runner = ProofRunner(pool, proof_pool, instance=runtime.instance)
        runtime.run_beside(stack, proof_runner.run())
        app = server.application("wallet")
        app[api.POOL] = pool
        app[api.READ_POOL] = read_pool
        app[api.READER] = reader
        app[api.PROOF_POOL] = proof_pool
        app[api.PROOF_RUNNER] = proof_runner
        api.add_routes(app, TokenVerifier(settings.identity_keys.public_keys, audience="wallet"))
        await server.serve(app, runtime, host=settings.host, port=settings.wallet_port)


async def _open_reader(
    settings: WalletSettings, read_pool: database.Pool, *, runtime: Runtime, stack: AsyncExitStack
) -> Reader:
    """The reader of statements, which follows the standby if there is one. The role is ready without it."""
    url = settings.wallet_read_database_url
    if url is None:
        return Reader(read_pool)
    standby = await database.open_pool(
        url.get_secret_value(),
        name=f"{runtime.instance} standby",
        size_max=settings.wallet_read_pool_size_max,
        server_settings=PLANNER | database.READ_LIMITS,
        on=database.STANDBY,
    )
    stack.push_async_callback(database.close_pool, standby)
    reader = Reader(read_pool, standby, lag_seconds_max=settings.wallet_read_lag_seconds_max)
    runtime.run_beside(stack, reader.watch())
    return reader


async def _open_proof_pool(stack: AsyncExitStack, url: str, *, name: str, size_max: int) -> database.Pool:
    pool = await database.open_pool(url, name=name, size_max=size_max, command_seconds=LONG_SECONDS)
    stack.push_async_callback(database.close_pool, pool)
    return pool


async def serve_seal(settings: SealSettings, runtime: Runtime) -> None:
    """The seal role: seals new rows in blocks, and runs the proof periodically."""
    async with AsyncExitStack() as stack:
        pool = await database.open_pool(
            settings.wallet_seal_database_url.get_secret_value(),
            name=runtime.instance,
            size_max=SEAL_POOL_SIZE_MAX,
            command_seconds=LONG_SECONDS,
            server_settings=ALONE,
        )
        stack.push_async_callback(database.close_pool, pool)
        await readiness.register(runtime, pool).wait(runtime)
        runtime.health.starting = False
        sealer = Sealer(
            pool,
            runtime,
            every_seconds=settings.seal_every_seconds,
            proof_every_seconds=settings.proof_every_seconds,
        )
        runtime.run_beside(stack, sealer.prove())
        await sealer.run()
