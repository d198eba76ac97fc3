from __future__ import annotations

import os

import pytest

from tests.performance import counters, requests
from tests.performance.counters import _part, _samples, _tree

METRICS = """\
# HELP payflow_batch_items Items of one batch.
# TYPE payflow_batch_items histogram
payflow_batch_items_bucket{batch="intake",le="1.0"} 1.0
payflow_batch_items_bucket{batch="intake",le="+Inf"} 2.0
payflow_batch_items_count{batch="intake"} 2.0
payflow_batch_items_sum{batch="intake"} 9.0
# HELP process_cpu_seconds_total CPU.
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 0.5
"""


@pytest.mark.parametrize(
    ("name", "title", "part"),
    [
        ("postgres", "postgres: payflow_wallet wallet 127.0.0.1(4711) idle", "postgres/wallet"),
        ("postgres", "postgres: walwriter ", "postgres/walwriter"),
        ("postgres", "/usr/lib/postgresql/15/bin/postgres", "postgres"),
        ("gateway", "", "gateway"),
    ],
)
def test_backends_are_counted_by_database(name: str, title: str, part: str) -> None:
    """A backend's title names its database, another process of the server its work."""
    assert part == _part(name, title)


def test_batches_of_two_workers_are_one_kind() -> None:
    """Count and sum of each batch; other metrics are ignored."""
    assert [("worker: intake", "count", 2.0), ("worker: intake", "sum", 9.0)] == sorted(_samples("worker-2", METRICS))


def test_cpu_includes_descendants() -> None:
    """The CPU of a child counts for its parent."""
    children = {os.getpid(): [os.getppid()]}

    parts = list(_tree("gateway", os.getpid(), children))

    assert ["gateway", "gateway"] == [name for name, _ in parts]
    assert all(seconds >= 0 for _, seconds in parts)
    assert os.getpid() in counters._children()[os.getppid()]


def test_transfer_request_has_the_length_of_its_content() -> None:
    """The bytes of a request are one whole HTTP request."""
    wallet = b"0198c0de-0000-7000-8000-000000000001"
    head, _, content = requests.transfer(requests.transfer_head("host", "token"), b"key-1", wallet).partition(
        b"\r\n\r\n"
    )

    assert f"Content-Length: {len(content)}".encode() in head
    assert head.endswith(b"Idempotency-Key: key-1")
    assert wallet in content
