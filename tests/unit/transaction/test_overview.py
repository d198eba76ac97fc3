"""The overview of the queue: each figure from its source."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.contracts.topology import FINALIZED_QUEUE, REQUESTED_QUEUE
from services.transaction import overview, queue_zone

DEPTHS = {
    REQUESTED_QUEUE.name: 7,
    REQUESTED_QUEUE.dead_letter: 2,
    FINALIZED_QUEUE.name: 60,
    FINALIZED_QUEUE.dead_letter: 3,
}
HEARTBEATS: dict[str, dict[str, Any]] = {
    "monitor": {"role": "monitor", "drain_per_s": 25.04, "depths": DEPTHS, "age_seconds": 0.5},
    "transaction-reversal-1": {"role": "reversal", "age_seconds": 120.0},
    "transaction-worker-1": {"role": "worker", "age_seconds": 0.1},
}


def described(**changes: Any) -> dict[str, Any]:
    pending = {"pending": 250, "oldest_seconds": 6.12345, "stale": 4}
    outbox = {"unpublished": 9, "lag_seconds": 1.23456}
    return overview.describe(pending, outbox, HEARTBEATS | changes, dead_letters_kept=11)


def test_every_figure_has_its_source() -> None:
    """Transfers from the database, messages from the broker, dead letters from both, work from the rate."""
    found = described()

    assert {
        "name": REQUESTED_QUEUE.name, "transfers": 250, "messages": 7, "zone": "delayed", "oldest_seconds": 6.123,
        "drain_per_s": 25.0, "seconds_of_work": 250 / 25.04,
    } == found["queues"][0]  # fmt: skip
    assert {
        "name": FINALIZED_QUEUE.name, "transfers": 60, "messages": 60, "zone": "busy", "oldest_seconds": 0.0,
        "drain_per_s": 0.0, "seconds_of_work": None,
    } == found["queues"][1]  # fmt: skip
    assert {"unpublished": 9, "lag_seconds": 1.235} == found["outbox"]
    assert (250, 4, 11 + 2 + 3) == (found["pending"], found["stale_pending"], found["dead_letters"])


def test_job_reports_its_last_pass() -> None:
    """Only the reversal is a job, without the name of its service; its time is that of its last pass."""
    [job] = described()["jobs"]
    ago = datetime.now(UTC) - datetime.fromisoformat(job["last_success"])

    assert "reversal-1" == job["name"]
    assert timedelta(seconds=120) <= ago < timedelta(seconds=3600)


@pytest.mark.parametrize("monitor", [{}, {"depths": None}])
def test_overview_without_the_broker(monitor: dict[str, Any]) -> None:
    """Without depths the messages are unknown, and dead letters are those recorded here."""
    found = described(monitor=monitor)

    assert (None, 250, 11) == (found["queues"][0]["messages"], found["queues"][0]["transfers"], found["dead_letters"])


@pytest.mark.parametrize(
    ("transfers", "drain", "seconds"), [(0, 0.0, 0.0), (0, 5.0, 0.0), (100, 4.0, 25.0), (100, 0.0, None)]
)
def test_seconds_of_work(transfers: int, drain: float, seconds: float | None) -> None:
    """No pending transfer: no time. No drain rate: unknown."""
    assert seconds == queue_zone.seconds_of_work(transfers, drain)
