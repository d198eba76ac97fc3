"""`expected_by` compared with what really happens: a steady load, a step, a burst, a lost worker, a backlog."""

from __future__ import annotations

import asyncio
import os
import statistics
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID, uuid4

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from yarl import URL

from tests.chaos import timing
from tests.chaos.test_overload import WORKERS, Driver, Sent, ids
from tests.chaos.timing import TimedPerson
from tests.harness.api import ApiClient
from tests.harness.books import faults_when_quiet
from tests.harness.databases import DataFolder
from tests.harness.stack import Stack, running

USERS = 8
CONNECTIONS = 512
QUIET_SECONDS = 120.0
CAPACITY_SECONDS = 10.0
PHASE_SECONDS = 30.0
BURST_SECONDS = 5.0
BACKLOG_SECONDS = 10.0
STEADY_PART, STEP_PART, LOSS_PART = 0.1, 0.5, 0.3
"""Of the capacity, which is measured first."""

BURST = 3

STEADY_MIN, CHANGE_MIN = 0.99, 0.95
"""The least part of all transfers that is final by `expected_by`, in a steady load and across a change."""

TIMES = """
SELECT extract(epoch FROM expected_by - created_at)::float8 AS expected,
       extract(epoch FROM finalized_at - created_at)::float8 AS actual
FROM transfers WHERE id = ANY($1::uuid[])
"""
LATE = "SELECT transfer_id, user_id, seq FROM late_notifications"
OUTCOMES = "SELECT transfer_id, user_id, seq FROM notifications WHERE transfer_id = ANY($1::uuid[])"


class Calibration(NamedTuple):
    """How good the expectations of a phase were; seconds are medians, tightness is the mean of expected by actual."""

    transfers: int
    without: int
    """Accepted while nothing was expected."""
    in_time: float
    expected_s: float
    actual_s: float
    tightness: float


@pytest.fixture
async def stack(tmp_path_factory: pytest.TempPathFactory, data_folder: DataFolder) -> AsyncIterator[Stack]:
    settings = {"PAYFLOW_REVERSAL_AFTER_SECONDS": "60"}
    async with running(tmp_path_factory.mktemp("calibration"), settings, data=data_folder) as started:
        yield started


@pytest.fixture
async def driver(stack: Stack) -> AsyncIterator[Driver]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        api = ApiClient(session, stack["gateway"])
        operator = await api.login("ops@example.com", "payflow-demo-1")
        yield Driver(URL(stack["gateway"]), await timing.register_timed(api, operator, USERS))


@pytest.mark.full_drill
@pytest.mark.timeout(900)
async def test_expectations_are_kept(stack: Stack, driver: Driver) -> None:
    """99 % of the transfers of a steady load are final when expected, 95 % in a step, a burst, a lost worker and a backlog.

    Senders of late ones are notified once, before the outcome. Without any worker nothing is expected.
    """
    capacity = await measure_capacity(stack, driver)
    phases = {
        "steady": await offered(stack, driver, STEADY_PART * capacity, PHASE_SECONDS),
        "step": await offered(stack, driver, STEP_PART * capacity, PHASE_SECONDS),
        "burst": await offered(stack, driver, BURST * capacity, BURST_SECONDS),
        "after the burst": await offered(stack, driver, STEADY_PART * capacity, PHASE_SECONDS),
    }
    metric_in_time = await in_time_by_metric(stack)
    losing = offered(stack, driver, LOSS_PART * capacity, PHASE_SECONDS)
    phases["one worker lost"], _ = await asyncio.gather(losing, stack.take_down(WORKERS[0]))
    async with without(stack, WORKERS):
        stale = await wait_until_delayed(driver.users)
        waiting = await driver.offer(per_second=capacity, seconds=BACKLOG_SECONDS, connections=CONNECTIONS)
    phases["behind a backlog"] = await offered(stack, driver, STEADY_PART * capacity, PHASE_SECONDS)

    calibrations = {name: await calibration(stack, sent) for name, sent in phases.items()}
    everything = {stale} | ids(waiting) | {id_ for sent in phases.values() for id_ in ids(sent)}
    timing.report(
        "expected_by",
        load_average=os.getloadavg(),
        capacity_per_s=round(capacity),
        phases={name: each._asdict() for name, each in calibrations.items()},
        metric_in_time=round(metric_in_time, 4),
        late_notifications=len(await stack.query("notification", LATE)),
    )
    assert [] == await faults_when_quiet(stack, everything, seconds=QUIET_SECONDS)
    assert [] == await notified_after_the_outcome(stack)
    assert {} == {
        name: each
        for name, each in calibrations.items()
        if each.in_time < (STEADY_MIN if name in ("steady", "after the burst") else CHANGE_MIN)
    }


async def measure_capacity(stack: Stack, driver: Driver) -> float:
    """Accepted transfers per second, with as many requests as are accepted."""
    sent = await driver.offer(per_second=1e6, seconds=CAPACITY_SECONDS, connections=32)
    assert [] == await faults_when_quiet(stack, ids(sent), seconds=QUIET_SECONDS)
    await wait_until(driver.users, "normal")
    return len(ids(sent)) / CAPACITY_SECONDS


async def offered(stack: Stack, driver: Driver, per_second: float, seconds: float) -> list[Sent]:
    """A phase, until all its transfers are final."""
    sent = await driver.offer(per_second=per_second, seconds=seconds, connections=CONNECTIONS)
    assert [] == await faults_when_quiet(stack, ids(sent), seconds=QUIET_SECONDS)
    return sent


async def calibration(stack: Stack, sent: list[Sent]) -> Calibration:
    rows = await stack.query("transaction", TIMES, list(ids(sent)))
    expected = [(row["expected"], row["actual"]) for row in rows if row["expected"] is not None]
    return Calibration(
        transfers=len(rows),
        without=len(rows) - len(expected),
        in_time=round(sum(actual <= due for due, actual in expected) / len(expected), 4),
        expected_s=round(statistics.median(due for due, _ in expected), 2),
        actual_s=round(statistics.median(actual for _, actual in expected), 3),
        tightness=round(statistics.mean(due / max(actual, 0.001) for due, actual in expected), 1),
    )


async def in_time_by_metric(stack: Stack) -> float:
    """The part of the transfers until now that the error metric of all processes counts at or below zero."""
    found = {"0.0": 0.0, "+Inf": 0.0}
    async with aiohttp.ClientSession() as session:
        for name, url in stack["metrics"].items():
            if not name.startswith("transaction"):
                continue
            async with session.get(url) as response:
                families = text_string_to_metric_families(await response.text())
            for family in families:
                if family.name == "payflow_expected_completion_error_seconds":
                    for sample in family.samples:
                        found |= {edge: found[edge] + sample.value for edge in found if sample.labels.get("le") == edge}
    return found["0.0"] / found["+Inf"]


async def notified_after_the_outcome(stack: Stack) -> list[UUID]:
    """The transfers whose sender was notified that they are late after the notification of their outcome."""
    late = await stack.query("notification", LATE)
    outcomes = {
        (row["transfer_id"], row["user_id"]): row["seq"]
        for row in await stack.query("notification", OUTCOMES, [row["transfer_id"] for row in late])
    }
    return [row["transfer_id"] for row in late if row["seq"] > outcomes[row["transfer_id"], row["user_id"]]]


@asynccontextmanager
async def without(stack: Stack, workers: Sequence[str]) -> AsyncIterator[None]:
    """These workers are killed and kept down."""
    for worker in workers:
        await stack.take_down(worker)
    try:
        yield
    finally:
        for worker in workers:
            stack.bring_up(worker)
        for worker in workers:
            await stack.ready(worker)


async def wait_until_delayed(users: Sequence[TimedPerson]) -> UUID:
    """Wait until transfers are accepted without an expectation; the id of one of them."""
    return UUID(await wait_until(users, "delayed"))


async def wait_until(users: Sequence[TimedPerson], processing: str) -> str:
    """Send until a transfer is accepted as this; its id."""
    body = {"amount": 1, "currency": "USD", "to": {"wallet_id": users[1].wallet_id}}
    async with asyncio.timeout(QUIET_SECONDS):
        while True:
            accepted = (await users[0].post("/transfers", body, key=uuid4().hex)).body
            if accepted.get("processing") == processing:
                assert (accepted["expected_by"] is None) == (processing == "delayed")
                return str(accepted["id"])
            await asyncio.sleep(0.2)
