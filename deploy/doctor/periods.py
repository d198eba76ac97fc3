"""Pure: the relations of periods and counts. Each one alone may be changed; together they must still fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deploy.doctor.findings import Finding, fail, ok, passed_unless

FAILOVER_SECONDS_MAX = 40.0
"""How long the database may be without a primary. Patroni replaces a leader after 20 s at the earliest."""

CONNECTIONS_RESERVED = 15
"""Connections beside the roles': three of PostgreSQL for superusers, migrations, backup, exporter, an administrator."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """How a process is stopped: seconds before the stop signal, and until it is killed."""

    name: str
    pre_stop: float
    grace: float


@dataclass(frozen=True, slots=True)
class PoolUse:
    """The connections of one role to PostgreSQL."""

    role: str
    replicas_max: int
    connections_max: int
    """Of one replica."""


def check_transfer_periods(*, reversal_after: float, message_lifetime: float) -> list[Finding]:
    """A failover is shorter than a transfer's life, and a message is retried for longer than that."""
    check = "periods"
    if reversal_after <= FAILOVER_SECONDS_MAX:
        sentence = f"transfers expire after {reversal_after:g} s, and a failover may take {FAILOVER_SECONDS_MAX:g} s"
        return [fail(check, sentence, "raise PAYFLOW_REVERSAL_AFTER_SECONDS of the transaction service")]
    if message_lifetime <= reversal_after:
        sentence = f"messages are retried for {message_lifetime:g} s, and transfers expire after {reversal_after:g} s"
        return [fail(check, sentence, "lower PAYFLOW_REVERSAL_AFTER_SECONDS of the transaction service")]
    figures = f"{FAILOVER_SECONDS_MAX:g} s < {reversal_after:g} s < {message_lifetime:g} s"
    return [ok(check, f"failover < reversal age < message lifetime ({figures})")]


def check_stopping(processes: Sequence[Stopping], *, drain: float) -> list[Finding]:
    """Each process is killed only after the time that it needs to finish its work."""
    found = [
        fail(
            "stopping",
            f"{process.name} is killed {process.grace:g} s after the order to stop, and needs"
            f" {process.pre_stop + drain:g} s ({process.pre_stop:g} s + {drain:g} s)",
            "raise its grace period",
        )
        for process in processes
        if process.pre_stop + drain >= process.grace
    ]
    return passed_unless(found, "stopping", "every grace period is longer than the time to finish the work")


def check_connections(pools: Sequence[PoolUse], *, connections_max: int | None) -> list[Finding]:
    """All pools together fit into the server's `max_connections`."""
    check = "connections"
    if connections_max is None:
        return [fail(check, "PostgreSQL does not say its max_connections", "see whether it is running")]
    total = sum(pool.replicas_max * pool.connections_max for pool in pools)
    available = connections_max - CONNECTIONS_RESERVED
    if total > available:
        largest = max(pools, key=lambda pool: pool.replicas_max * pool.connections_max)
        sentence = (
            f"the roles may open {total} connections, and max_connections leaves {available};"
            f" {largest.role} alone may open {largest.replicas_max * largest.connections_max}"
        )
        return [fail(check, sentence, "raise max_connections, or lower the replicas or pool sizes")]
    return [ok(check, f"at most {total} of {available} connections to PostgreSQL")]


def check_reversal_schedule(cron_job: Mapping[str, object]) -> list[Finding]:
    """The CronJob of the reversal leaves no gap: it runs each minute, for a minute, beside the one before."""
    spec = cron_job["spec"]
    assert isinstance(spec, dict)
    job = spec["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    environment = {entry["name"]: entry.get("value") for entry in pod["containers"][0].get("env", [])}
    sweep = float(environment.get("PAYFLOW_REVERSAL_SECONDS_MAX") or 0)
    faults = [
        (spec["schedule"] == "* * * * *", f"its schedule is {spec['schedule']!r}, not each minute"),
        (sweep >= 60, f"it sweeps for {sweep:g} s of each minute"),  # noqa: PLR2004 - a minute
        (spec.get("concurrencyPolicy", "Allow") == "Allow", "two runs may not overlap"),
        (not spec.get("suspend"), "it is suspended"),
        (job.get("activeDeadlineSeconds", sweep + 30) > sweep, "its deadline ends a run early"),
    ]
    found = [
        fail("reversal", f"the reversal has gaps: {sentence}", "apply the manifests again")
        for holds, sentence in faults
        if not holds
    ]
    return passed_unless(found, "reversal", "the reversal runs without a gap")
