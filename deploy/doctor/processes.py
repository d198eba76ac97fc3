"""Pure: what the processes say of themselves: readiness, versions, jobs, queues, ledger, clocks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from deploy.doctor.findings import Finding, fail, ok, passed_unless, warn
from services.chassis.service_tokens import LEEWAY_SECONDS
from services.gateway.settings import GatewaySettings

JOB_ROLES = {
    "reversal": "transaction-reversal",
    "seal": "wallet-seal",
    "proof": "wallet-seal",
    "catch-up": "notification-worker",
}
"""The role that runs each job."""

JOB_SECONDS_MAX = {"reversal": 30.0, "seal": 60.0, "proof": 3600.0, "catch-up": 120.0}
"""The age of its last success beyond which a job has stopped. The reversal passes at least every 10 s."""

JOB_METRIC = "payflow_job_last_success_timestamp_seconds"
OUTBOX_LAG_SECONDS_MAX = 10.0
QUEUE = "transfers.requested"


@dataclass(frozen=True, slots=True)
class Probe:
    """One process, as `deploy/doctor/probe.py` read it. Without `metrics` it did not respond."""

    name: str
    """The process, container or pod."""
    role: str
    metrics: str | None = None
    ready: Mapping[str, Any] | None = None
    edges: Mapping[str, str] = field(default_factory=dict)
    open_files: int | None = None
    at: float | None = None
    """The clock of its machine."""
    seen: tuple[float, float] | None = None
    """The doctor's clock before and after."""

    @classmethod
    def read(cls, name: str, role: str, document: Mapping[str, Any], *, seen: tuple[float, float]) -> Probe:
        """From the JSON that the probe prints."""
        return cls(name, role, seen=seen, **document)


Samples = list[tuple[dict[str, str], float]]


def samples(probes: Iterable[Probe], name: str) -> Samples:
    """The labels and values of a metric, over all processes."""
    found: Samples = []
    for probe in probes:
        for family in text_string_to_metric_families(probe.metrics or ""):
            found += [(dict(sample.labels), sample.value) for sample in family.samples if sample.name == name]
    return found


def check_roles(probes: Sequence[Probe], expected: Iterable[str], *, advice: str) -> list[Finding]:
    """Each role has a process, and each process responds. ROLE in the advice is replaced by the role, here and below."""
    roles = {probe.role for probe in probes}
    silent = [probe for probe in probes if probe.metrics is None]
    found = [
        fail("roles", f"no process has the role {role}", advice.replace("ROLE", role))
        for role in expected
        if role not in roles
    ]
    found += [fail("roles", f"{probe.name} does not respond", advice.replace("ROLE", probe.role)) for probe in silent]
    return passed_unless(found, "roles", f"{len(roles)} roles, {len(probes)} processes, all respond")


def check_readiness(probes: Sequence[Probe], *, advice: str) -> list[Finding]:
    """Each process reaches what it needs."""
    found = [
        fail(
            "readiness",
            f"{probe.name} is not ready: {', '.join(probe.ready['failing'])}",
            advice.replace("ROLE", probe.role),
        )
        for probe in probes
        if probe.ready is not None and probe.ready["failing"]
    ]
    return passed_unless(found, "readiness", "every process is ready")


def check_versions(probes: Sequence[Probe]) -> list[Finding]:
    """All processes run the same version of the same source."""
    by_build: dict[str, set[str]] = defaultdict(set)
    for probe in probes:
        builds = samples([probe], "payflow_build_info")
        if probe.metrics is not None:
            by_build[_build(builds)].add(probe.role)
    if len(by_build) > 1:
        builds_text = "; ".join(f"{build}: {', '.join(sorted(roles))}" for build, roles in sorted(by_build.items()))
        return [fail("versions", f"the roles run {len(by_build)} builds: {builds_text}", "finish the upgrade")]
    return [ok("versions", f"all roles run {build}") for build in by_build]


def _build(builds: Samples) -> str:
    if not builds:
        return "a build without payflow_build_info"
    labels, _ = builds[0]
    return f"version {labels['version']} revision {labels['revision']}"


def largest(probes: Iterable[Probe], name: str, label: str) -> dict[str, float]:
    """The value of a metric that is farthest from 0, by one of its labels: several replicas report the same thing."""
    found: dict[str, float] = {}
    for labels, value in samples(probes, name):
        found[labels[label]] = max(found.get(labels[label], 0.0), value, key=abs)
    return found


def check_jobs(
    probes: Sequence[Probe], *, now: float, advice: str, seconds_max: Mapping[str, float] = JOB_SECONDS_MAX
) -> list[Finding]:
    """Each of these periodic jobs has succeeded, and recently."""
    last = largest(probes, JOB_METRIC, "job")
    found = []
    for job, age_max in seconds_max.items():
        at = last.get(job, 0.0)
        command = advice.replace("ROLE", JOB_ROLES[job])
        if not at:
            found.append(fail("jobs", f"the job {job} has never succeeded", command))
        elif now - at > age_max:
            found.append(fail("jobs", f"the last success of the job {job} was at {_time(at)}", command))
    return passed_unless(found, "jobs", f"{', '.join(seconds_max)} have succeeded recently")


def check_queues(probes: Sequence[Probe]) -> list[Finding]:
    """Work moves: no stale transfers, no dead letters, no lag, and the depth is known."""
    return passed_unless(_queue_findings(probes), "queues", "no stale transfers, no dead letters, no lag")


def _queue_findings(probes: Sequence[Probe]) -> Iterator[Finding]:
    if QUEUE not in largest(probes, "payflow_queue_transfers", "queue"):
        yield fail("queues", f"no relay measures the queue {QUEUE}", "read the log of transaction-relay")
    if stale := max((value for _, value in samples(probes, "payflow_stale_pending_transfers")), default=0):
        yield fail("queues", f"transfers that are PENDING past their expiry: {stale:.0f}", "read the reversal's log")
    for queue, value in largest(probes, "payflow_queue_leaderless", "queue").items():
        if value:
            yield fail("queues", f"{queue} has no leader", "see docs/operations/queue-without-leader.md")
    for service, value in largest(probes, "payflow_outbox_lag_seconds", "service").items():
        if value > OUTBOX_LAG_SECONDS_MAX:
            yield fail("queues", f"the outbox of {service} is {value:.0f} s behind", "read the relay's log")
    for queue, value in largest(probes, "payflow_dead_letters", "queue").items():
        if value:
            what = f"dead letters of {queue} that wait for an operator: {value:.0f}"
            yield warn("queues", what, "list them with `payflow dead-letters list`, then replay or discard them")


def check_ledger(probes: Sequence[Probe]) -> list[Finding]:
    """The books balance, and the last proof passed."""
    found = [
        fail("ledger", f"the entries in {currency} sum to {value:.0f}, not 0", "run `payflow ledger verify`")
        for currency, value in largest(probes, "payflow_ledger_drift_minor_units", "currency").items()
        if value
    ]
    seal = [probe for probe in probes if probe.role == "wallet-seal"]
    proofs = [value for _, value in samples(seal, "payflow_ledger_proof_ok")]
    if "proof" in largest(seal, JOB_METRIC, "job") and not all(proofs):
        found.append(fail("ledger", "the last proof of the ledger failed", "run `payflow ledger verify`"))
    return passed_unless(found, "ledger", "every currency sums to 0, and the last proof passed")


def check_clocks(probes: Sequence[Probe]) -> list[Finding]:
    """No clock is so far off that other services refuse its tokens."""
    found = []
    for probe in probes:
        seconds = clock_difference(probe)
        if seconds > 1.0:
            make = fail if seconds > LEEWAY_SECONDS else warn
            sentence = f"the clock of {probe.name} differs by {seconds:.1f} s"
            found.append(make("clocks", sentence, "synchronise the clocks of all machines with NTP"))
    return passed_unless(found, "clocks", "no clock differs by more than 1 s")


def clock_difference(probe: Probe) -> float:
    """By how much its clock was certainly outside of the time in which it was read, in seconds."""
    if probe.at is None or probe.seen is None:
        return 0.0
    before, after = probe.seen
    return max(0.0, before - probe.at, probe.at - after)


def check_open_files(probes: Sequence[Probe]) -> list[Finding]:
    """The gateway may open a file for each connection that it accepts."""
    needed = GatewaySettings.model_fields["connections_max"].default
    found = [
        warn(
            "open files",
            f"{probe.name} may open {probe.open_files} files, and accepts {needed} connections",
            "raise the limit (ulimit -n), or lower PAYFLOW_CONNECTIONS_MAX",
        )
        for probe in probes
        if probe.role == "gateway" and probe.open_files is not None and -1 < probe.open_files <= needed
    ]
    return passed_unless(found, "open files", "the gateway may open a file for each connection")


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
