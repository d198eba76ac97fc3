"""Which process of a run has which tests: those that share an engine or a stack together, and the longest first.

A process of pytest-xdist takes a file at a time. Left to itself it takes those with the most tests first, so that the few and
long ones end up last, and each process starts the stack and the broker that tests share. All of it only moves tests: they hold in
any order, alone, and in one process. `pytest --durations=0` tells the seconds.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

BROKER = "tests with a broker"
TOGETHER = {
    "tests/e2e/": "tests/e2e",
    "tests/chaos/test_delayed_calls.py": BROKER,
    "tests/chaos/": "tests/chaos",
    "tests/integration/transaction/": BROKER,
    "tests/integration/test_upgrade.py": BROKER,
    "tests/integration/notification/test_worker.py": BROKER,
    "tests/integration/notification/test_catch_up.py": BROKER,
    "tests/integration/chassis/test_consuming.py": BROKER,
    "tests/integration/chassis/test_publishing.py": BROKER,
    "tests/integration/chaos/test_proxy_protocols.py": BROKER,
}
"""Folders and files that go to one process: two stacks of the session are started, and one broker, not one in every process."""

FIRST = (
    "tests/e2e",
    BROKER,
    "tests/simulation/test_transfer_protocol.py",
    "tests/chaos",
    "tests/chaos/test_crash_points.py",
    "tests/chaos/test_overload.py",
    "tests/integration/local/test_payflow.py",
    "tests/chaos/test_disk_full.py",
    "tests/integration/local/test_engines.py",
    "tests/integration/wallet/test_ledger_machine.py",
    "tests/integration/test_bad_configuration.py",
    "tests/integration/test_migrations.py",
    "tests/integration/test_broker.py",
)
"""What takes from half a minute to five, the longest first, but three stacks never start at once: a start is 36 s of CPU.

A file in here is not part of a folder that stays together.
"""


def place(nodeid: str) -> str:
    """The file of a test, or what goes to one process with it."""
    path = nodeid.partition("::")[0]
    if path in FIRST:
        return path
    return next((place for start, place in TOGETHER.items() if path.startswith(start)), path)


class Placement(LoadFileScheduling):  # type: ignore[misc]
    """Hands places to processes in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        return place(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Placement:
    """Share out the tests by place."""
    config.option.loadscopereorder = False
    return Placement(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest first, where several processes share the tests; then those of many tests."""
    if hasattr(config, "workerinput"):
        tests = Counter(place(item.nodeid) for item in items)
        ranks = {name: rank - len(FIRST) for rank, name in enumerate(FIRST)}
        items.sort(key=lambda item: (ranks.get(place(item.nodeid), 0), -tests[place(item.nodeid)]))
