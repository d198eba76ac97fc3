"""The requests and transfers of the days before a run, none of which failed.

The windows of the error budgets look back up to three days. In a system without a past, a few seconds are all of their data.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

from tests.alerts.traffic import PER_SECOND

DAYS = 3
DAY_SECONDS = 86_400
BEFORE_SECONDS = 60
"""So long before now the history ends: Prometheus accepts no sample that is older than its newest block."""

SERIES = {
    "payflow:requests:rate5m": 2 * PER_SECOND,
    "payflow:requests_failed:rate5m": 0.0,
    "payflow:transfers:rate5m": PER_SECOND,
    "payflow:transfers_late:rate5m": 0.0,
}
"""The recorded series that the windows are sums of, per second."""


async def write(folder: Path, *, interval: int) -> None:
    """Write the history to the data folder of a Prometheus that is not running, a sample every `interval` seconds."""
    draft = folder.with_name("history.txt")
    folder.mkdir(parents=True, exist_ok=True)
    draft.write_text("".join(_lines(int(time.time()) - BEFORE_SECONDS, interval)))
    command = ("promtool", "tsdb", "create-blocks-from", "openmetrics", str(draft), str(folder))
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    draft.unlink()


def _lines(until: int, interval: int) -> Iterator[str]:
    """The samples as OpenMetrics text."""
    for series, value in SERIES.items():
        yield f"# TYPE {series} gauge\n"
        for at in range(until - DAYS * DAY_SECONDS, until, interval):
            yield f"{series} {value} {at}\n"
    yield "# EOF\n"
