"""How anything is sent: again and again, with pauses, for as long as something that is needed is away."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import structlog

from services.chassis import backoff
from services.chassis.database import LockTimeout
from services.chassis.roles import Runtime
from services.contracts.refusal import Refusal
from services.notification.channels import ChannelUnavailable

CLAIM_MAX = 50
POLL_SECONDS = 1.0
PAUSE_SECONDS_MAX = 30.0

ATTEMPTS_MAX = 12
RETRY_SECONDS = 30.0
RETRY_SECONDS_MAX = 3600.0

log = structlog.get_logger()


async def keep_sending(runtime: Runtime, send_due: Callable[[], Awaitable[int]]) -> None:
    """Call `send_due`, which tells how much it claimed, until told to stop; wait while something that is needed is away."""
    failures = 0
    while not runtime.stopping.is_set():
        try:
            claimed_count = await send_due()
        except (Refusal, ChannelUnavailable, LockTimeout) as error:
            failures += 1
            log.warning("deliver_paused", reason=error.code if isinstance(error, Refusal) else str(error))
            await runtime.pause(backoff.seconds(failures, first=0.5, longest=PAUSE_SECONDS_MAX))
            continue
        failures = 0
        if not claimed_count:
            await runtime.pause(POLL_SECONDS)


def retry_seconds(attempts: int, *, first: float) -> float:
    """The pause after a refusal, when so many were made before it."""
    longest = backoff.seconds(attempts, first=first, longest=RETRY_SECONDS_MAX)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards nothing
