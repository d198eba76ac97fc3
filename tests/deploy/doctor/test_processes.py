"""What the processes say of themselves: recorded from a stack that was well, and from the same stack with planted faults."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from deploy import facts
from deploy.doctor import processes
from deploy.doctor.findings import Finding
from deploy.doctor.processes import Probe
from deploy.doctor.targets import microk8s

SAMPLES = Path(__file__).with_name("samples")
ADVICE = "read its log: logs ROLE"
DEAD_LETTERS = "list them with `payflow dead-letters list`, then replay or discard them"


def recorded(name: str) -> list[Probe]:
    return [Probe(**document) for document in json.loads((SAMPLES / name).read_text())]


GOOD, BROKEN = recorded("local-good.json"), recorded("local-broken.json")
NOW = max(value for _, value in processes.samples(GOOD, processes.JOB_METRIC)) + 1


def check_all(probes: list[Probe], now: float = NOW) -> list[Finding]:
    return [
        *processes.check_roles(probes, facts.ROLES, advice=ADVICE),
        *processes.check_readiness(probes, advice=ADVICE),
        *processes.check_versions(probes),
        *processes.check_jobs(probes, now=now, advice=ADVICE),
        *processes.check_queues(probes),
        *processes.check_ledger(probes),
        *processes.check_clocks(probes),
        *processes.check_open_files(probes),
    ]


def lines(found: list[Finding]) -> list[str]:
    return [str(finding) for finding in found if finding.level != "ok"]


def changed(probe_name: str, **fields: object) -> list[Probe]:
    return [replace(probe, **fields) if probe.name == probe_name else probe for probe in GOOD]  # type: ignore[arg-type]


def with_text(probe_name: str, old: str, new: str) -> list[Probe]:
    found = []
    for probe in GOOD:
        text = probe.metrics or ""
        if probe.name == probe_name:
            assert old in text
            text = text.replace(old, new)
        found.append(replace(probe, metrics=text))
    return found


def test_a_stack_that_is_well_has_no_findings() -> None:
    """Recorded from `make run` after a transfer."""
    assert [] == lines(check_all(GOOD))


def test_planted_faults_are_found() -> None:
    """Recorded from the same stack with the reversal kept down and a message in the queue that no worker can read."""
    assert [
        "fail roles: no process has the role transaction-reversal - read its log: logs transaction-reversal",
        "fail jobs: the job reversal has never succeeded - read its log: logs transaction-reversal",
        f"warn queues: dead letters of transfers.requested that wait for an operator: 1 - {DEAD_LETTERS}",
    ] == lines(check_all(BROKEN))


NOT_READY = {"ok": ["postgres"], "failing": ["rabbitmq", "queue"]}


@pytest.mark.parametrize(
    ("probes", "line"),
    [
        (
            changed("gateway", metrics=None, ready=None),
            "fail roles: gateway does not respond - read its log: logs gateway",
        ),
        (
            changed("transaction-worker-1", ready=NOT_READY),
            "fail readiness: transaction-worker-1 is not ready: rabbitmq, queue - read its log: logs transaction-worker",
        ),
        (
            with_text("wallet", 'version="0.1.0"', 'version="0.2.0"'),
            "fail versions: the roles run 2 builds: version 0.1.0 revision unknown: auth, canary, gateway, notification",
        ),
        (
            with_text("wallet", "payflow_build_info{", "payflow_other{"),
            "fail versions: the roles run 2 builds: a build w",
        ),
        (
            with_text("transaction-relay", "payflow_queue_transfers{", "payflow_other{"),
            "fail queues: no relay measures the queue transfers.requested",
        ),
        (
            with_text(
                "transaction-relay", "payflow_stale_pending_transfers 0.0", "payflow_stale_pending_transfers 3.0"
            ),
            "fail queues: transfers that are PENDING past their expiry: 3",
        ),
        (
            with_text(
                "transaction-relay", 'lag_seconds{service="transaction"} 0.0', 'lag_seconds{service="transaction"} 60'
            ),
            "fail queues: the outbox of transaction is 60 s behind",
        ),
        (
            with_text("wallet", 'minor_units{currency="USD"} 0.0', 'minor_units{currency="USD"} -5'),
            "fail ledger: the entries in USD sum to -5, not 0",
        ),
        (
            with_text("wallet-seal", "payflow_ledger_proof_ok 1.0", "payflow_ledger_proof_ok 0.0"),
            "fail ledger: the last proof of the ledger failed",
        ),
        (
            changed("gateway", open_files=1024),
            "warn open files: gateway may open 1024 files, and accepts 8000 connections",
        ),
        (changed("auth", at=100.0, seen=(103.0, 103.5)), "warn clocks: the clock of auth differs by 3.0 s"),
        (changed("auth", at=110.0, seen=(103.0, 103.5)), "fail clocks: the clock of auth differs by 6.5 s"),
    ],
)
def test_one_fault_is_one_line(probes: list[Probe], line: str) -> None:
    """Each check finds its fault, and the others still pass."""
    found = lines(check_all(probes))

    assert [line] == [text[: len(line)] for text in found]


def test_a_job_that_stopped_is_found() -> None:
    """An age beyond that of each job, seen by the doctor's clock."""
    found = lines(check_all(GOOD, now=NOW + 40))

    assert ["fail jobs: the last success of the job reversal was at 20"] == [text[:57] for text in found]


def test_a_slow_container_is_no_wrong_clock() -> None:
    """A clock counts as wrong only if it was outside of the whole time in which it was read."""
    [auth] = [probe for probe in changed("auth", at=104.0, seen=(103.0, 109.0)) if probe.name == "auth"]

    assert processes.clock_difference(auth) == 0
    assert processes.clock_difference(GOOD[0]) == 0


def test_an_unlimited_number_of_files_is_enough() -> None:
    """-1 means that there is no limit."""
    assert [] == lines(processes.check_open_files(changed("gateway", open_files=-1)))


def test_replicas_report_the_same_thing_once() -> None:
    """Two relays report one dead letter; of two workers one has done the job."""
    twice = [*BROKEN, *(replace(probe, name=f"{probe.name}-b") for probe in BROKEN)]
    fresh = [replace(probe, metrics=(probe.metrics or "").replace('job="seal"} 1', 'job="seal"} 0')) for probe in GOOD]

    assert 1 == len(lines(processes.check_queues(twice)))
    assert [] == lines(processes.check_jobs([*GOOD, *fresh], now=NOW, advice=ADVICE))


def test_a_reversal_that_is_starting_is_no_failure() -> None:
    """On Kubernetes each run of it lives for a minute, and its CronJob says when it last succeeded."""
    others = [probe for probe in GOOD if probe.role != "transaction-reversal"]
    starting = Probe("transaction-reversal-1", "transaction-reversal")
    allowed: dict[str, frozenset[str]] = {}

    assert [] == lines(list(microk8s.check_probes([*others, starting], allowed, now=NOW)))
    assert [] == lines(list(microk8s.check_probes(others, allowed, now=NOW)))
    old = lines(list(microk8s.check_probes(GOOD, allowed, now=NOW + 40)))
    assert ["fail jobs: the last success of the job reversal was"] == [text[:51] for text in old]
