from __future__ import annotations

from typing import Any

import pytest

from tests.performance import figures


def test_percentiles_are_measured_values() -> None:
    """Milliseconds, by the nearest rank; a single value is every percentile."""
    assert {"p50": 50.0, "p95": 95.0, "p99": 99.0} == figures.percentiles([n / 1000 for n in range(100, 0, -1)])
    assert {"p50": 7.0, "p95": 7.0, "p99": 7.0} == figures.percentiles([0.007])
    assert {"p50": 0.0, "p95": 0.0, "p99": 0.0} == figures.percentiles([])


def test_changes_of_nested_counters() -> None:
    """Differences; a counter that is new counts from 0."""
    before = {"cpu": {"gateway": 1.0}, "rows": {"wallet": {"entries": {"inserted": 5}}}}
    after = {"cpu": {"gateway": 3.5, "wallet": 1.0}, "rows": {"wallet": {"entries": {"inserted": 9}}}}

    assert {
        "cpu": {"gateway": 2.5, "wallet": 1.0},
        "rows": {"wallet": {"entries": {"inserted": 4}}},
    } == figures.changes(before, after)


def test_costs_of_one_transfer() -> None:
    """CPU in microseconds, rows of all databases together, bytes; counters that are 0 are omitted."""
    costs = figures.costs(USED, 100)

    assert 300.0 == costs["cpu_us_per_transfer"]
    assert {"gateway": 200.0, "postgres/wallet": 100.0} == costs["cpu_us"]
    assert {"wallet": {"entries": {"inserted": 2.0}, "accounts": {"updated": 1.5}}} == costs["rows"]
    assert (3.5, 900, 0.25) == (costs["rows_written"], costs["wal_bytes_per_transfer"], costs["commits_per_transfer"])
    assert {"wallet: ledger": 50.0} == costs["batches"]


def test_completed_rate_counts_from_the_first_send_to_the_last_completed() -> None:
    """Not to the last accepted one; failed transfers do not count, and an accepted one that is not found is lost."""
    measured = figures.end_to_end(SENT, ROWS, USED)

    assert (4, 2, 1, 1) == (measured["sent"], measured["completed"], measured["failed"], measured["lost"])
    assert 0.5 == measured["completed_per_s"]
    assert 2.0 == measured["accepted_per_s"]
    assert 2000.0 == measured["complete_ms"]["p50"]
    assert 3500.0 == measured["complete_ms"]["p99"]
    assert 0.008 == measured["cores_used"]


def test_times_seen_by_the_client_are_preferred() -> None:
    """A client that reads its transfers until they are final measures what it sees."""
    measured = figures.end_to_end(SENT | {"completed": [0.25, 0.5]}, ROWS, USED)

    assert {"p50": 250.0, "p95": 500.0, "p99": 500.0} == measured["complete_ms"]


def test_ratios_against_the_yardstick_and_the_uniform_load() -> None:
    """The hot receiver of the ledger is compared with the ledger, that of the whole system with its uniform load."""
    found: dict[str, dict[str, Any]] = {
        "ledger": {"uniform_256_tps": 4000.0, "hot_256_tps": 3600.0},
        "uniform": {"completed_per_s": 1500.0},
        "hot": {"completed_per_s": 1350.0},
        "pingpong": {"completed_per_s": 1200.0},
    }

    ratios = figures.ratios({"pgbench_one_per_commit_tps": 1000.0}, found)

    assert {"ledger": 4.0, "ledger_hot": 0.9, "end_to_end": 1.5, "hot": 0.9, "pingpong": 0.8} == ratios


def test_ended_backends_are_counted_by_their_server() -> None:
    """The kernel adds the CPU of a backend that has ended to its parent: the sum stays right, and no figure is negative."""
    seconds = {"postgres": 0.03, "postgres/auth": -0.01, "postgres/wallet": 0.01, "gateway": 0.02}

    assert {"gateway": 2000.0, "postgres": 2000.0, "postgres/wallet": 1000.0} == figures.by_process(seconds, 10)


@pytest.mark.parametrize(("count", "seconds", "rate"), [(10, 4.0, 2.5), (0, 0.0, 0.0)])
def test_rate(count: int, seconds: float, rate: float) -> None:
    """Nothing in no time is 0."""
    assert rate == figures.per_second(count, seconds)


SENT: dict[str, Any] = {
    "sent": 4,
    "statuses": {"202": 4},
    "began": 1000.0,
    "last_accepted_at": 1002.0,
    "ids": ["a", "b", "c", "d"],
    "submitted": [1000.0, 1000.5, 1001.0, 1001.5],
    "accepted": [0.1, 0.1, 0.1, 0.1],
    "completed": [],
    "cpu_seconds": 0.001,
}
ROWS = {
    "a": {"status": "COMPLETED", "at": 1002.0},
    "b": {"status": "COMPLETED", "at": 1004.0},
    "c": {"status": "FAILED", "at": 1009.0},
}
USED: dict[str, Any] = {
    "cpu": {"gateway": 0.02, "postgres/wallet": 0.01, "redis": 0.0},
    "rows": {"wallet": {"entries": {"inserted": 200, "updated": 0}, "accounts": {"updated": 150}}, "auth": {}},
    "server": {"wal_bytes": 90_000, "commits": 25, "wal_syncs": 10, "wal_page_images": 0},
    "batches": {"wallet: ledger": {"count": 2, "sum": 100}, "wallet: none": {"count": 0, "sum": 0}},
}
