from __future__ import annotations

import io

from rich.console import Console

from tests.performance import observability, overhead

ON = [
    {"completed_per_s": 97.0, "cpu_us_per_transfer": 515.0, "cpu_us": {"gateway": 104.0}, "prometheus_cpu_us": 5.0},
    {"completed_per_s": 196.0, "cpu_us_per_transfer": 510.0, "cpu_us": {"gateway": 102.0}, "prometheus_cpu_us": 7.0},
    {"completed_per_s": 99.0, "cpu_us_per_transfer": 505.0, "cpu_us": {"gateway": 106.0}, "prometheus_cpu_us": 6.0},
]
OFF = [
    {"completed_per_s": 100.0, "cpu_us_per_transfer": 500.0, "cpu_us": {"gateway": 100.0, "redis": 1.0}},
    {"completed_per_s": 200.0, "cpu_us_per_transfer": 500.0, "cpu_us": {"gateway": 100.0, "redis": 1.0}},
    {"completed_per_s": 100.0, "cpu_us_per_transfer": 500.0, "cpu_us": {"gateway": 100.0, "redis": 1.0}},
]


def test_each_stretch_is_compared_with_its_neighbour() -> None:
    """The ratio of each pair, whatever the rate of its minute, and the median of the ratios."""
    found = overhead.document(ON, OFF)

    assert {"median": 0.98, "pairs": [0.97, 0.98, 0.99]} == found["throughput"]
    assert {"median": 1.02, "pairs": [1.03, 1.02, 1.01]} == found["cpu"]
    assert 6.0 == found["prometheus_cpu_us"]
    assert "0.980 (0.970 to 0.990) x the throughput" in overhead.line(found)


def test_the_table_shows_where_the_cost_is() -> None:
    """The difference of each process, also of one that used nothing in some stretches."""
    shown = io.StringIO()

    Console(file=shown, width=120).print(overhead.table(overhead.document(ON, OFF)))

    lines = [" ".join(line.split()) for line in shown.getvalue().splitlines()]
    assert "│ gateway │ 104.0 │ 100.0 │ +4.0 │" in lines
    assert "│ redis │ 0.0 │ 1.0 │ -1.0 │" in lines
    assert "│ completed/s │ 99.0 │ 100.0 │ -1.0 │" in lines


def test_a_drift_of_the_machine_cancels() -> None:
    """Both kinds of stretches have the same mean position, and half of the pairs begin with each."""
    order = observability.order(4)

    assert [True, False, False, True] * 2 == order
    assert sum(place for place, is_on in enumerate(order) if is_on) == sum(range(8)) / 2
