"""The state of the queue for operators. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from services.contracts import topology
from services.contracts.messages import format_time
from services.transaction.queue_zone import seconds_of_work, zone
from services.transaction.steps import MONITOR


def describe(
    pending: Mapping[str, Any],
    outbox: Mapping[str, Any],
    heartbeats: Mapping[str, Mapping[str, Any]],
    *,
    dead_letters_kept: int,
) -> dict[str, Any]:
    """`pending` has pending, oldest_seconds and stale; `outbox` has unpublished and lag_seconds; all current.

    Dead letters are those recorded here, and those of all queues that were still in the broker at its last measurement.
    """
    monitor = heartbeats.get(MONITOR, {})
    depths = monitor.get("depths") or {}
    return {
        "queues": [_queue(queue, pending, monitor, depths) for queue in topology.QUEUES],
        "outbox": {"unpublished": outbox["unpublished"], "lag_seconds": round(outbox["lag_seconds"] or 0.0, 3)},
        "pending": pending["pending"],
        "stale_pending": pending["stale"],
        "dead_letters": dead_letters_kept + sum(depths.get(queue.dead_letter, 0) for queue in topology.QUEUES),
        "jobs": [_job(name, state) for name, state in sorted(heartbeats.items()) if state.get("role") == "reversal"],
    }


def _queue(
    queue: topology.Queue, pending: Mapping[str, Any], monitor: Mapping[str, Any], depths: Mapping[str, int]
) -> dict[str, Any]:
    is_transfers = queue is topology.REQUESTED_QUEUE
    transfers = int(pending["pending"]) if is_transfers else depths.get(queue.name, 0)
    oldest = float(pending["oldest_seconds"]) if is_transfers else 0.0
    drain = float(monitor.get("drain_per_s", 0.0)) if is_transfers else 0.0
    return {
        "name": queue.name,
        "transfers": transfers,
        "messages": depths.get(queue.name),
        "zone": zone(transfers, oldest),
        "oldest_seconds": round(oldest, 3),
        "drain_per_s": round(drain, 1),
        "seconds_of_work": seconds_of_work(transfers, drain),
    }


def _job(name: str, state: Mapping[str, Any]) -> dict[str, Any]:
    at = datetime.now(UTC) - timedelta(seconds=float(state["age_seconds"]))
    return {"name": name.removeprefix("transaction-"), "last_success": format_time(at)}
