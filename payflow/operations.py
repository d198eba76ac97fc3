"""Results for operators: the state of the queues, the proof of the ledger, the balance sheet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from payflow import document as read


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """The load of one queue: its depth in transfers and in messages, its zone, and the time to drain it."""

    name: str
    transfers: int | None
    messages: int | None
    zone: str | None
    oldest_seconds: float | None
    drain_per_s: float | None
    seconds_of_work: float | None

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON; unavailable figures are None."""
        return cls(
            name=document["name"],
            transfers=read.integer_or_none(document.get("transfers")),
            messages=read.integer_or_none(document.get("messages")),
            zone=document.get("zone"),
            oldest_seconds=read.number_or_none(document.get("oldest_seconds")),
            drain_per_s=read.number_or_none(document.get("drain_per_s")),
            seconds_of_work=read.number_or_none(document.get("seconds_of_work")),
        )


@dataclass(frozen=True, slots=True)
class Job:
    """A recurring job, and when it last succeeded."""

    name: str
    last_success: datetime | None


@dataclass(frozen=True, slots=True)
class Service:
    """A service, and whether it is ready."""

    name: str
    ready: bool


@dataclass(frozen=True, slots=True)
class Alert:
    """A firing alert, since when, and the address of its runbook."""

    name: str
    severity: str | None
    since: datetime | None
    runbook: str | None

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        since = read.moment_or_none(document.get("since"))
        return cls(document["name"], document.get("severity"), since, document.get("runbook"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The state of the system; unavailable figures are None. `document` is the gateway's JSON."""

    queues: tuple[Queue, ...]
    outbox_unpublished: int | None
    outbox_lag_seconds: float | None
    pending: int | None
    stale_pending: int | None
    dead_letters: int | None
    proof_ok: bool | None
    proof_at: datetime | None
    jobs: tuple[Job, ...]
    services: tuple[Service, ...]
    alerts: tuple[Alert, ...] | None = None
    """Firing alerts; None if the gateway does not know them."""
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        outbox = document.get("outbox") or {}
        proof = document.get("proof") or {}
        return cls(
            queues=tuple(Queue.read(queue) for queue in document["queues"]),
            outbox_unpublished=read.integer_or_none(outbox.get("unpublished")),
            outbox_lag_seconds=read.number_or_none(outbox.get("lag_seconds")),
            pending=read.integer_or_none(document.get("pending")),
            stale_pending=read.integer_or_none(document.get("stale_pending")),
            dead_letters=read.integer_or_none(document.get("dead_letters")),
            proof_ok=proof.get("ok"),
            proof_at=read.moment_or_none(proof.get("at")),
            jobs=tuple(
                Job(job["name"], read.moment_or_none(job.get("last_success"))) for job in document.get("jobs") or ()
            ),
            services=tuple(
                Service(service["name"], service["ready"] is True) for service in document.get("services") or ()
            ),
            alerts=None if (alerts := document.get("alerts")) is None else tuple(map(Alert.read, alerts)),
            document=document,
        )


@dataclass(frozen=True, slots=True)
class Check:
    """One check of the ledger, whether it passed, and what it found."""

    name: str
    ok: bool
    detail: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One run of checks over the ledger. `document` is the gateway's JSON.

    `head` is the newest sealed block as NUMBER:HASH, to be recorded and verified later; None if no block is sealed.
    """

    ok: bool
    at: datetime | None
    checks: tuple[Check, ...]
    head: str | None
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def failing(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.ok)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON. A proof with a failed check is not ok, whatever its own `ok` says."""
        checks = tuple(Check(check["name"], check["ok"] is True, check.get("detail")) for check in document["checks"])
        return cls(
            ok=document["ok"] is True and all(check.ok for check in checks),
            at=read.moment_or_none(document.get("at")),
            checks=checks,
            head=f"{head['number']}:{head['hash']}" if (head := document.get("head")) else None,
            document=document,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofRun:
    """A requested run of the proof. `document` is the gateway's JSON.

    `state` is `running`, then `passed` or `failed`, with the `proof`; or `abandoned`: its process ended, there is no result.
    `blocks_total` is None until the sealed blocks to compare are counted.
    """

    id: str
    state: str
    started_at: datetime
    check: str | None
    checks_done: int
    checks_total: int
    blocks_done: int
    blocks_total: int | None
    proof: Proof | None
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        return cls(
            id=document["id"],
            state=document["state"],
            started_at=read.moment(document["started_at"]),
            check=document.get("check"),
            checks_done=document["checks_done"],
            checks_total=document["checks_total"],
            blocks_done=document["blocks_done"],
            blocks_total=document.get("blocks_total"),
            proof=None if document.get("proof") is None else Proof.read(document["proof"]),
            document=document,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """An outcome that was sealed late by the decision of an operator. `document` is the gateway's JSON.

    `block` is the number of the block that seals it; None until it is sealed, which takes seconds.
    """

    transfer_id: str
    reason: str
    at: datetime
    block: int | None
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        return cls(
            transfer_id=document["transfer_id"],
            reason=document["reason"],
            at=read.moment(document["at"]),
            block=document.get("block"),
            document=document,
        )


@dataclass(frozen=True, slots=True)
class CurrencySum:
    """The sums of customer accounts and of external accounts, in minor units; `sum` is zero if the books balance."""

    currency: str
    customers: int
    external: int
    sum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceSheet:
    """The books by currency at one instant. `document` is the gateway's JSON."""

    as_of: datetime
    currencies: tuple[CurrencySum, ...]
    document: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """From the gateway's JSON."""
        return cls(
            as_of=read.moment(document["as_of"]),
            currencies=tuple(
                CurrencySum(
                    row["currency"],
                    read.integer(row["customers"]),
                    read.integer(row["external"]),
                    read.integer(row["sum"]),
                )
                for row in document["currencies"]
            ),
            document=document,
        )
