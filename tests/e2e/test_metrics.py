"""The metrics of a running stack, as Prometheus scrapes them."""

from __future__ import annotations

import asyncio
import re
import time
from importlib.metadata import version

from tests.harness import leaks
from tests.harness.api import Person
from tests.harness.stack import Stack

MEASURED_SECONDS_MAX = 30
"""The drift is measured every few seconds, and has no currency before the first transfer."""

PROMISED = [
    "payflow_http_request_duration_seconds{service,route,method,status}",
    "payflow_transfers_total{kind,outcome}",
    "payflow_transfer_duration_seconds",
    "payflow_queue_transfers{queue}",
    "payflow_queue_messages{queue,state}",
    "payflow_queue_oldest_age_seconds{queue}",
    "payflow_queue_drain_per_second{queue}",
    "payflow_outbox_unpublished{service}",
    "payflow_outbox_lag_seconds{service}",
    "payflow_pending_transfers",
    "payflow_stale_pending_transfers",
    "payflow_dead_letters{queue}",
    "payflow_idempotency_total{result}",
    "payflow_ledger_drift_minor_units{currency}",
    "payflow_ledger_batch_size",
    "payflow_outcome_conflicts_total",
    "payflow_rate_limited_total",
    "payflow_job_last_success_timestamp_seconds{job}",
    "payflow_ledger_proof_ok",
    "payflow_build_info{version,revision}",
    "payflow_seal_lag_seconds",
    "payflow_seal_head_number",
    "payflow_sealed_blocks_total",
]


async def test_every_promised_series_is_exported(stack: Stack, alice: Person, bob: Person) -> None:
    """Each documented series is on some role's page, with its labels, after one transfer."""
    await alice.send_money(bob, 1, wait=20)
    deadline = time.monotonic() + MEASURED_SECONDS_MAX
    while (missing := missing_in(await stack.pages())) and time.monotonic() < deadline:
        await asyncio.sleep(0.2)

    assert [] == missing


def missing_in(text: str) -> list[str]:
    """The promised series that are not on the pages."""
    missing = []
    for promised in PROMISED:
        name, _, labels = promised.partition("{")
        lines = re.findall(rf"^{name}(?:_bucket|_count|_sum)?(?:{{(.*)}})? \S+$", text, flags=re.MULTILINE)
        wanted = set(filter(None, labels.rstrip("}").split(",")))
        if not any(wanted <= set(re.findall(r"(\w+)=", line)) for line in lines):
            missing.append(promised)
    return missing


async def test_every_role_exports_its_version(stack: Stack) -> None:
    """Each role states the version of the distribution, and that its revision is unknown where none is set."""
    found = re.findall(r"^payflow_build_info{(.*)} 1\.0$", await stack.pages(), flags=re.MULTILINE)

    assert len([name for name in stack["metrics"] if name not in ("postgres", "rabbitmq", "redis")]) == len(found)
    assert {f'revision="unknown",version="{version("payflow-server")}"'} == set(found)


async def test_metrics_never_go_through_the_gateway(stack: Stack, alice: Person) -> None:
    """The gateway's public port serves no metrics and no internal route."""
    for path in ("/metrics", "/internal/post", "/internal/transfers", "/api/v1/internal/post"):
        async with alice.session.get(
            stack["gateway"] + path, headers={"Authorization": f"Bearer {alice.token}"}
        ) as response:
            assert 404 == response.status, path


async def test_labels_hold_no_identifiers(stack: Stack, alice: Person, bob: Person) -> None:
    """No series has a user, wallet or transfer id as label: the number of values would be unbounded.

    When the stack ends, its pages are searched again, for anything that looks like an id.
    """
    transfer = (await alice.send_money(bob, 1, wait=20)).body
    text = await stack.pages()

    assert [] == [id_ for id_ in (alice.user_id, alice.wallet_id, transfer["id"]) if id_ in text]
    assert [] == leaks.labeled_with_ids(text)
