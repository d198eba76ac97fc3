"""Figures from what was counted. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

PERCENTILES = (50, 95, 99)


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds, by the nearest rank; 0 for nothing."""
    ordered = sorted(seconds)
    if not ordered:
        return {f"p{p}": 0.0 for p in PERCENTILES}
    return {f"p{p}": round(ordered[-(-p * len(ordered) // 100) - 1] * 1000, 2) for p in PERCENTILES}


def per_second(count: int, seconds: float) -> float:
    """A rate; 0 where no time passed."""
    return round(count / seconds, 1) if seconds > 0 else 0.0


def ratio(value: float, reference: float) -> float:
    """How many times the reference; 0 without one."""
    return round(value / reference, 3) if reference else 0.0


def median(values: Sequence[float]) -> float:
    """The median, or 0 of nothing."""
    return round(statistics.median(values), 1) if values else 0.0


def middle(ratios: Sequence[float]) -> float:
    """The median of ratios, or 0 of nothing."""
    return round(statistics.median(ratios), 3) if ratios else 0.0


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The differences of counters, of nested ones too. What was not there before counts from 0."""
    found: dict[str, Any] = {}
    for name, value in after.items():
        if isinstance(value, Mapping):
            found[name] = changes(before.get(name, {}), value)
        else:
            found[name] = value - before.get(name, 0)
    return found


def each(counted: Mapping[str, Any], items: int, *, digits: int = 1, scale: float = 1.0) -> dict[str, Any]:
    """Counters per item, nested ones too, without those that are 0."""
    found: dict[str, Any] = {}
    for name, value in counted.items():
        if isinstance(value, Mapping):
            inner = each(value, items, digits=digits, scale=scale)
            if inner:
                found[name] = inner
        elif round(value * scale / max(1, items), digits):
            found[name] = round(value * scale / max(1, items), digits)
    return found


def batches(counted: Mapping[str, Any]) -> dict[str, float]:
    """The mean number of items of one batch, by kind, from differences of {kind: {"count", "sum"}}."""
    return {kind: round(one["sum"] / one["count"], 1) for kind, one in sorted(counted.items()) if one["count"]}


def end_to_end(sent: Mapping[str, Any], rows: Mapping[str, Any], used: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a load of transfers.

    Args:
        sent: the result of the load generator.
        rows: `status` and `at`, the time of its commit, of each transfer, by id.
        used: the differences of all counters.
    """
    terminal = [(rows[id_], at) for id_, at in zip(sent["ids"], sent["submitted"], strict=True) if id_ in rows]
    completed = [(row["at"], at) for row, at in terminal if row["status"] == "COMPLETED"]
    failed = sum(row["status"] == "FAILED" for row, _ in terminal)
    last = max((done for done, _ in completed), default=sent["began"])
    # Where the client itself saw the end, its time counts.
    took = sent["completed"] or [done - submitted for done, submitted in completed]
    return {
        "sent": sent["sent"],
        "accepted_per_s": per_second(len(sent["ids"]), sent["last_accepted_at"] - sent["began"]),
        "completed_per_s": per_second(len(completed), last - sent["began"]),
        "completed": len(completed),
        "failed": failed,
        "lost": len(sent["ids"]) - len(completed) - failed,
        "accept_ms": percentiles(sent["accepted"]),
        "complete_ms": percentiles(took),
        "statuses": sent["statuses"],
        "without_response": sent["sent"] - sum(sent["statuses"].values()),
        "generator_cpu_us": round(sent["cpu_seconds"] / max(1, sent["sent"]) * 1e6, 1),
        "cores_used": ratio(sum(used["cpu"].values()) + sent["cpu_seconds"], last - sent["began"]),
        **costs(used, len(completed)),
    }


def reads(result: Mapping[str, Any], used: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a load of reads."""
    count = len(result["accepted"])
    return {
        "per_s": per_second(count, result["last_accepted_at"] - result["began"]),
        "ms": percentiles(result["accepted"]),
        "statuses": result["statuses"],
        "generator_cpu_us": round(result["cpu_seconds"] / max(1, count) * 1e6, 1),
        "cpu_us_per_read": round(sum(used["cpu"].values()) / max(1, count) * 1e6, 1),
        "cpu_us": by_process(used["cpu"], count),
    }


def costs(used: Mapping[str, Any], transfers: int) -> dict[str, Any]:
    """What one transfer costs: CPU by process, rows by table, write-ahead log, commits; and the sizes of batches."""
    rows = each(used["rows"], transfers, digits=2)
    return {
        "cpu_us_per_transfer": round(sum(used["cpu"].values()) / max(1, transfers) * 1e6, 1),
        "cpu_us": by_process(used["cpu"], transfers),
        "rows_written": round(sum(_leaves(rows)), 2),
        "rows": rows,
        "wal_bytes_per_transfer": round(used["server"]["wal_bytes"] / max(1, transfers)),
        "commits_per_transfer": round(used["server"]["commits"] / max(1, transfers), 3),
        "wal_syncs_per_transfer": round(used["server"]["wal_syncs"] / max(1, transfers), 3),
        "wal_page_images_per_transfer": round(used["server"]["wal_page_images"] / max(1, transfers), 3),
        "batches": batches(used["batches"]),
    }


def by_process(seconds: Mapping[str, float], items: int) -> dict[str, float]:
    """CPU microseconds per item by process. What a backend used that has ended is in the figure of its server."""
    used = {name: value for name, value in seconds.items() if value >= 0}
    for name, value in seconds.items():
        if value < 0:
            server = name.partition("/")[0]
            used[server] = used.get(server, 0.0) + value
    return dict(sorted(each(used, items, scale=1e6).items()))


def _leaves(counted: Mapping[str, Any]) -> list[float]:
    return [leaf for value in counted.values() for leaf in (_leaves(value) if isinstance(value, Mapping) else [value])]


def ratios(yardstick: Mapping[str, float], found: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Each rate against the yardstick, or against the uniform load of its kind; those that were measured."""
    one_per_commit = yardstick["pgbench_one_per_commit_tps"]
    ledger, uniform = found.get("ledger", {}), found.get("uniform", {}).get("completed_per_s", 0.0)
    pairs = {
        "ledger": (ledger.get("uniform_256_tps"), one_per_commit),
        "ledger_hot": (ledger.get("hot_256_tps"), ledger.get("uniform_256_tps", 0.0)),
        "end_to_end": (uniform, one_per_commit),
        "end_to_end_64": (found.get("uniform_64", {}).get("completed_per_s"), one_per_commit),
        "hot": (found.get("hot", {}).get("completed_per_s"), uniform),
        "pingpong": (found.get("pingpong", {}).get("completed_per_s"), uniform),
        "drain": (found.get("drain", {}).get("per_s"), uniform),
        "reads": (found.get("reads", {}).get("balance_per_s"), one_per_commit),
    }
    return {name: ratio(value, reference) for name, (value, reference) in pairs.items() if value and reference}
