"""Distributes tests to the processes of a run: tests that share an engine or a stack together, and the longest first.

A process of pytest-xdist takes one file at a time. By default it takes those with the most tests first, so that a few long
ones end up last, and each process starts the shared stack and broker. The placement only moves tests: they pass in any
order, alone, and in one process. `pytest --durations=0` prints the seconds.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

BROKER = "tests with a broker"
SCHEMAS = "tests with JSON schemas"
TOGETHER = {
    "tests/e2e/": "tests/e2e",
    "tests/chaos/test_delayed_calls.py": BROKER,
    "tests/chaos/": "tests/chaos",
    "tests/integration/transaction/": BROKER,
    "tests/integration/notification/test_worker.py": BROKER,
    "tests/integration/notification/test_catch_up.py": BROKER,
    "tests/integration/chassis/test_acknowledging.py": BROKER,
    "tests/integration/chassis/test_consuming.py": BROKER,
    "tests/integration/chassis/test_publishing.py": BROKER,
    "tests/integration/chassis/test_topology.py": BROKER,
    "tests/integration/test_upgrade.py": BROKER,
    "tests/integration/chaos/test_proxy_protocols.py": BROKER,
    "tests/deploy/k8s/test_custom_resources.py": SCHEMAS,
    "tests/deploy/k8s/test_schemas.py": SCHEMAS,
    "tests/unit/gateway/test_examples.py": SCHEMAS,
    "tests/unit/gateway/test_openapi.py": SCHEMAS,
}
"""Folders and files that run in one process, so that a run starts two session stacks and one broker, not one per process.

Those with JSON schemas import a library that takes more than a second to import.
"""

FIRST = (
    "tests/chaos",
    BROKER,
    "tests/e2e",
    "tests/simulation/test_transfer_protocol.py",
    "tests/chaos/test_crash_points.py",
    "tests/integration/local/test_payflow.py",
    "tests/integration/local/test_moving.py",
    "tests/integration/deploy/monitoring/test_promtool.py",
    "tests/e2e/test_telemetry.py",
    "tests/integration/test_plans.py",
    "tests/integration/wallet/test_ledger_machine.py",
    "tests/chaos/test_overload.py",
    "tests/chaos/test_disk_full.py",
    "tests/integration/local/test_engines.py",
    "tests/integration/wallet/test_races.py",
    "tests/unit/wallet/test_ledger_machine.py",
    SCHEMAS,
    "tests/integration/test_migrations.py",
    "tests/integration/test_broker.py",
)
"""Groups that take a quarter of a minute or more, the longest first.

A file listed here is not part of a folder that stays together.
"""


def group_of(nodeid: str) -> str:
    """The file of a test, or the group it belongs to."""
    path = nodeid.partition("::")[0]
    if path in FIRST:
        return path
    return next((group for start, group in TOGETHER.items() if path.startswith(start)), path)


class Placement(LoadFileScheduling):  # type: ignore[misc]
    """Assigns groups to processes in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Placement:
    """Distribute the tests by group."""
    config.option.loadscopereorder = False
    return Placement(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the longest groups first if several processes share the tests, then those with many tests."""
    if hasattr(config, "workerinput"):
        tests = Counter(group_of(item.nodeid) for item in items)
        ranks = {name: rank - len(FIRST) for rank, name in enumerate(FIRST)}
        items.sort(key=lambda item: (ranks.get(group_of(item.nodeid), 0), -tests[group_of(item.nodeid)]))
