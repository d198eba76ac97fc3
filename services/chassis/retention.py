"""The loop of each retention: passes that remove a bounded number of rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from services.chassis import metrics
from services.chassis.database import DatabaseUnavailable, LockTimeout
from services.chassis.roles import Runtime

EVERY_SECONDS = 60.0
MORE_SECONDS = 1.0
"""The pause after a pass that has left something to do."""

log = structlog.get_logger()


async def run(runtime: Runtime, job: str, remove: Callable[[], Awaitable[bool]]) -> None:
    """Call `remove` until the role stops: every minute, and every second while it returns that there is more.

    The time of the last success is the metric of this job. A failed pass changes nothing, or it is unknown; the next one examines
    the same rows.
    """
    while not runtime.stopping.is_set():
        more = False
        try:
            more = await remove()
            metrics.JOB_LAST_SUCCESS.labels(job).set_to_current_time()
        except (DatabaseUnavailable, LockTimeout) as error:
            log.debug("retention_delayed", job=job, reason=str(error))
        except Exception:
            # The role goes on with its other work.
            log.exception("retention_failed", job=job)
        await runtime.pause(MORE_SECONDS if more else EVERY_SECONDS)
