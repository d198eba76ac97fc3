"""Composition of the canary's role."""

from __future__ import annotations

from contextlib import AsyncExitStack

import aiohttp
import structlog

from payflow.errors import PayFlowError
from services.canary.accounts import Account, open_accounts
from services.canary.circle import Circle
from services.canary.settings import CanarySettings
from services.chassis import backoff
from services.chassis.health import PING_SECONDS
from services.chassis.roles import Runtime

UNFUNDED_SECONDS_MAX = 5.0
"""The longest pause while the accounts wait for their money."""

OPEN_SECONDS_MAX = 30.0

log = structlog.get_logger()


async def serve_probe(settings: CanarySettings, runtime: Runtime) -> None:
    """The probe role: measures payments until it stops. It is ready when its accounts are open and the gateway is ready."""
    async with AsyncExitStack() as stack:
        timeout = aiohttp.ClientTimeout(total=PING_SECONDS)
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        gateway = settings.gateway_url.rstrip("/")

        async def ping() -> None:
            async with session.get(f"{gateway}/readyz") as response:
                response.raise_for_status()

        runtime.health.register("gateway", ping)
        # Beside the role: when it stops, a transfer that is being waited for does not delay it.
        runtime.run_beside(stack, _measure(settings, runtime))
        await runtime.until_stopped()


async def _measure(settings: CanarySettings, runtime: Runtime) -> None:
    async with AsyncExitStack() as clients:
        accounts = await _open_accounts(settings, runtime, clients)
        if accounts is None:
            return
        runtime.health.starting = False
        circle = Circle(accounts)
        while not runtime.stopping.is_set():
            await circle.run_once()
            every = settings.canary_every_seconds
            await runtime.pause(every if circle.is_funded else min(every, UNFUNDED_SECONDS_MAX))


async def _open_accounts(
    settings: CanarySettings, runtime: Runtime, clients: AsyncExitStack
) -> tuple[Account, Account] | None:
    """The open accounts, as soon as the gateway can open them; None if the role stops before."""
    failures = 0
    while not runtime.stopping.is_set():
        try:
            return await open_accounts(settings.gateway_url, settings.canary_secret.get_secret_value(), clients)
        except PayFlowError as error:
            failures += 1
            log.warning("canary_accounts_not_opened", reason=str(error))
            await runtime.pause(backoff.seconds(failures, first=0.5, longest=OPEN_SECONDS_MAX))
    return None
