"""A real Prometheus reads a real stack: every query has data, and the number of workers follows the depth of the queue.

With `PAYFLOW_DRILLS=full` the stack is one of its own whose roles are started by their commands: a fork of a process that has
imported all services exports the metrics of all of them.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from deploy.local.home import REPOSITORY
from tests.chaos.superuser import logged_in
from tests.harness import drills, monitoring, prometheus, promql
from tests.harness.api import ApiClient, Person
from tests.harness.prometheus import Prometheus
from tests.harness.stack import Stack, running

SCALED = REPOSITORY / "deploy" / "k8s" / "components" / "keda-prometheus" / "scaled-object.yaml"
QUEUE = "transfers.requested"
KEPT_DOWN = ("transaction-worker-1", "transaction-worker-2", "transaction-reversal")
WITH_TROUBLE_ONLY = {"payflow_queue_leaderless"}
"""Series that appear with the first trouble."""

NOT_HERE = {
    "payflow_auth_emails_total",
    "payflow_backup_base_timestamp_seconds",
    "payflow_deliveries_total",
    "pg_stat_replication_pg_wal_lsn_diff",
}
"""Series that need a mail server, backups, or a standby."""

EXPORTERS_HERE = (None, "node", "postgres", "prometheus", "rabbitmq", "redis")

SCRAPE_SECONDS_MAX = 60.0
FIRES_SECONDS_MAX = 120.0
CLEARS_SECONDS_MAX = 300.0
TARGETS = 20
"""Twelve processes, the broker and its queues, four exporters, Prometheus and Alertmanager."""


SESSIONS_MIN = 10
"""Each of eleven processes has at least one."""


@pytest.fixture(scope="module")
async def monitored(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """The shared stack, or one of commands."""
    if not drills.FULL:
        yield stack
        return
    async with running(tmp_path_factory.mktemp("monitored"), forked=False) as started:
        yield started


@pytest.fixture(scope="module")
async def people(monitored: Stack) -> AsyncIterator[tuple[Person, Person]]:
    """A user with money, and one without."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=32)) as session:
        api = ApiClient(session, monitored["gateway"])
        operator = await api.login("ops@example.com", "payflow-demo-1")
        sender, recipient = await api.register("Sam Sender"), await api.register("Rita Recipient")
        await operator.fund(sender, 100_000)
        yield sender, recipient


@pytest.fixture(scope="module")
async def server(monitored: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    """Prometheus with all exporters; every target was read at least once."""
    async with prometheus.running(monitored, tmp_path_factory.mktemp("prometheus")) as (started, _):
        await started.until(f"count(up == 1) == {TARGETS}", seconds=SCRAPE_SECONDS_MAX)
        yield started


@asynccontextmanager
async def load(people: tuple[Person, Person]) -> AsyncIterator[None]:
    """One transfer after another, so that every rate has something to count."""
    sender, recipient = people

    async def send() -> None:
        while True:
            await sender.send_money(recipient, 1, wait=20)
            await asyncio.sleep(0.1)

    sending = asyncio.create_task(send())
    try:
        yield
    finally:
        sending.cancel()
        await asyncio.wait([sending])


@asynccontextmanager
async def slot_of_backups(stack: Stack) -> AsyncIterator[None]:
    """The replication slot of backups, without its receiver. It keeps no log before its first use."""
    async with logged_in(stack) as connection:
        await connection.execute("SELECT pg_create_physical_replication_slot('payflow_backup')")
        try:
            yield
        finally:
            await connection.execute("SELECT pg_drop_replication_slot('payflow_backup')")


async def has_data(server: Prometheus, expression: str) -> bool:
    """Whether the expression has a sample that is a number, within the time of a few scrapes."""
    try:
        async with asyncio.timeout(SCRAPE_SECONDS_MAX):
            while not any(not math.isnan(float(sample["value"][1])) for sample in await server.query(expression)):
                await asyncio.sleep(0.5)
    except TimeoutError:
        return False
    return True


def is_read_here(expression: str) -> bool:
    """Whether everything that an expression reads is exported on this machine, without trouble."""
    names = {selector.name for selector in promql.selectors(expression)}
    return not any(
        name in WITH_TROUBLE_ONLY | NOT_HERE or monitoring.exporter_of(name) not in EXPORTERS_HERE for name in names
    )


async def test_every_query_has_data(monitored: Stack, server: Prometheus, people: tuple[Person, Person]) -> None:
    """Each query of the dashboard and each series that a rule reads, those of containers excepted, after a little load.

    The alert about stopped backups sees a slot without a receiver, and nothing without a slot.
    """
    panels = [panel for path in monitoring.DASHBOARDS for panel in monitoring.read(path)["panels"]]
    queries = [query for panel in panels if panel["type"] != "row" for query in monitoring.expressions(panel)]
    series = {selector.name for rule in monitoring.rules() for selector in promql.selectors(rule["expr"])}
    (stopped,) = [rule["expr"] for rule in monitoring.alerts() if rule["alert"] == "PayflowBackupStopped"]
    wanted = [expression for expression in [*queries, *sorted(series), stopped] if is_read_here(expression)]
    assert [] == await server.query(stopped), "backups are not enabled"
    async with load(people), slot_of_backups(monitored):
        found = await asyncio.gather(*(has_data(server, expression) for expression in wanted))

    assert [] == [expression for expression, has in zip(wanted, found, strict=True) if not has]
    assert len(wanted) > 60


async def test_rules_are_evaluated_without_an_error(server: Prometheus) -> None:
    """All groups are loaded, and no rule fails, for instance by matching several series with one."""
    groups = (await server.get("rules"))["groups"]
    loaded: list[dict[str, Any]] = [rule for group in groups for rule in group["rules"]]

    assert sorted(rule["name"] for rule in loaded) == sorted(
        rule.get("alert") or rule["record"] for rule in monitoring.rules()
    )
    assert [] == [(rule["name"], rule["lastError"]) for rule in loaded if rule.get("lastError")]


async def test_sessions_of_all_users_are_counted(server: Prometheus) -> None:
    """The login of the exporter sees the sessions of the services: otherwise PostgresConnectionsHigh could never fire."""
    await server.until(f"sum(pg_stat_activity_count) > {SESSIONS_MIN}", seconds=SCRAPE_SECONDS_MAX)


@asynccontextmanager
async def kept_down(stack: Stack, *names: str) -> AsyncIterator[None]:
    """Processes that are down meanwhile; all of them are ready afterwards."""
    await asyncio.gather(*(stack.take_down(name) for name in names))
    try:
        yield
    finally:
        for name in names:
            stack.bring_up(name)
        await asyncio.gather(*(stack.ready(name) for name in names))


def trigger() -> dict[str, str]:
    """What the autoscaler reads: the trigger of the ScaledObject."""
    spec = yaml.safe_load(SCALED.read_text())["spec"]
    (only,) = spec["triggers"]
    return dict(only["metadata"]) | {"min": str(spec["minReplicaCount"]), "max": str(spec["maxReplicaCount"])}


def requested_workers(depth: float) -> int:
    """As the HorizontalPodAutoscaler computes it for an external metric with an average value per pod."""
    scaling = trigger()
    return min(max(math.ceil(depth / float(scaling["threshold"])), int(scaling["min"])), int(scaling["max"]))


async def test_zone_and_workers_follow_the_depth(
    monitored: Stack, server: Prometheus, people: tuple[Person, Person]
) -> None:
    """Guarantee 64: depths of 40, 120 and 300 are normal, busy, delayed, and the autoscaler's query requests 2, 3, 6 workers.

    The workers are kept down meanwhile, so that the depth is exact.
    """
    sender, recipient = people
    seen = []
    async with kept_down(monitored, *KEPT_DOWN):
        await server.until(f'payflow:queue_transfers{{queue="{QUEUE}"}} == 0', seconds=SCRAPE_SECONDS_MAX)
        sent = 0
        for depth, zone in ((40, 0), (120, 1), (300, 2)):
            responses = await asyncio.gather(*(sender.send_money(recipient, 1) for _ in range(depth - sent)))
            assert {202} == {response.status for response in responses}
            sent = depth
            await server.until(
                f'payflow:queue_transfers{{queue="{QUEUE}"}} == {depth} and payflow:queue_zone == {zone}',
                seconds=SCRAPE_SECONDS_MAX,
            )
            found = await server.value(trigger()["query"])
            assert found is not None
            seen.append((zone, requested_workers(found)))
    await server.until(f'payflow:queue_transfers{{queue="{QUEUE}"}} == 0', seconds=SCRAPE_SECONDS_MAX)

    assert [(0, 2), (1, 3), (2, 6)] == seen


async def test_without_a_relay_the_depth_is_unknown(monitored: Stack, server: Prometheus) -> None:
    """Guarantee 64: the query of the autoscaler has no result then. It is not 0, so no worker is stopped, and an alert is due."""
    assert await server.value(trigger()["query"]) is not None
    async with kept_down(monitored, "transaction-relay"):
        await server.until('up{role="transaction-relay"} == 0', seconds=SCRAPE_SECONDS_MAX)

        assert await server.value(trigger()["query"]) is None
        assert "false" == trigger()["ignoreNullValues"]
        await server.until('ALERTS{alertname="PayflowQueueUnmeasured"}', seconds=SCRAPE_SECONDS_MAX)
    await server.until(trigger()["query"], seconds=SCRAPE_SECONDS_MAX)


async def test_make_monitor(monitored: Stack) -> None:
    """It starts everything beside a running stack, prints addresses that respond, and stops everything at Ctrl-C."""
    environment = os.environ | {"PAYFLOW_HOME": str(monitored.home)}
    command = [sys.executable, "-m", "deploy.monitoring", "monitor"]
    monitor = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
    assert monitor.stdout is not None
    printed = ""
    async with asyncio.timeout(SCRAPE_SECONDS_MAX):
        while "Ctrl-C" not in printed:
            printed += (await monitor.stdout.readline()).decode()
    addresses = re.findall(r"(http://\S+)", printed)
    async with aiohttp.ClientSession() as session:
        for address in addresses:
            async with session.get(address) as response:
                assert response.ok, address
        monitor.send_signal(signal.SIGINT)
        assert 0 == await monitor.wait()
        for address in addresses:
            with pytest.raises(aiohttp.ClientConnectionError):
                await session.get(address)
    assert 6 == len(addresses)


@pytest.mark.full_drill
async def test_an_alert_is_notified_and_resolved(
    monitored: Stack, people: tuple[Person, Person], tmp_path: Path
) -> None:
    """Workers that are down reach the log of alerts, and so does their return. What follows from it is inhibited."""
    sender, recipient = people
    async with prometheus.running(monitored, tmp_path / "monitoring") as (server, servers):
        log = servers.alerts
        await server.until(f"count(up == 1) == {TARGETS}", seconds=SCRAPE_SECONDS_MAX)
        began = time.monotonic()
        async with kept_down(monitored, *KEPT_DOWN):
            await asyncio.gather(*(sender.send_money(recipient, 1) for _ in range(300)))
            await notified(log, "PayflowTransferProcessDown", "firing")
            fired = time.monotonic() - began
            await server.until(
                'ALERTS{alertname="PayflowQueueDelayed", alertstate="firing"}', seconds=FIRES_SECONDS_MAX
            )
        healed = time.monotonic()
        await notified(log, "PayflowTransferProcessDown", "resolved")
        cleared = time.monotonic() - healed

    print(f"PayflowTransferProcessDown: notified after {fired:.0f} s, resolved after {cleared:.0f} s")
    assert [] == [line for line in alert_lines(log) if line["alertname"] == "PayflowQueueDelayed"]
    assert fired < FIRES_SECONDS_MAX
    assert cleared < CLEARS_SECONDS_MAX


async def notified(log: Path, alert: str, status: str) -> None:
    """Wait for a line of the log of alerts."""
    async with asyncio.timeout(CLEARS_SECONDS_MAX):
        while not any((line["alertname"], line["status"]) == (alert, status) for line in alert_lines(log)):
            await asyncio.sleep(0.5)


def alert_lines(log: Path) -> list[dict[str, Any]]:
    """The alerts that were notified."""
    return [json.loads(line) for line in log.read_text().splitlines()]
