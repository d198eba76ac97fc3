"""Everything about one transfer in one archive for a ticket: without secrets, customers' text and e-mail addresses."""

from __future__ import annotations

import io
import json
import os
import platform
import zipfile
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

from payflow import evidence, redaction
from payflow.client import PayFlow
from payflow.errors import PayFlowError
from payflow.evidence import Unreachable, Window
from payflow.log_line import Subject
from payflow.request import timestamp
from payflow.transfer import Timeline

BEFORE = timedelta(minutes=5)
AFTER = timedelta(minutes=5)
WINDOW_MAX = timedelta(hours=6)
"""The metrics and lines that belong to a transfer; later ones of a transfer that waits for days add nothing."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where metrics and log lines are: addresses, or the folder of the local stack with its processes."""

    prometheus: str | None = None
    loki: str | None = None
    logs: Path | None = None
    processes: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Ticket:
    """The files of the archive by name, and why others are missing."""

    transfer_id: str
    files: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, document: Any) -> None:
        """Add a JSON document, redacted."""
        self.files[name] = json.dumps(redaction.redact(document), indent=2, ensure_ascii=False) + "\n"

    async def attempt(self, name: str, part: Awaitable[Any]) -> None:
        """Add what this returns, or record why it cannot be had."""
        try:
            self.add(name, await part)
        except (PayFlowError, Unreachable) as error:
            self.missing[name] = redaction.redact_text(str(error))

    def write(self, path: Path) -> None:
        """Write the archive, readable for its owner only.

        Raises:
            FileExistsError, OSError
        """
        memory = io.BytesIO()
        with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in self.files.items():
                archive.writestr(f"ticket-{self.transfer_id}/{name}", text)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(memory.getvalue())


async def collect(payflow: PayFlow, transfer_id: str, sources: Sources) -> Ticket:
    """Read everything about one transfer, as an operator.

    Raises:
        Problem: `transfer_not_found`, `operator_required`.
        PayFlowError: there is no trace; every other part may be missing.
    """
    timeline = await payflow.operator.timeline(transfer_id)
    found = await payflow.operator.find_transfers(transfer_id=transfer_id)
    ticket = Ticket(timeline.transfer_id)
    ticket.add("trace.json", timeline.document)
    subject = Subject(timeline.transfer_id)
    for item in found.items:
        ticket.add("transfer.json", redaction.without_text(item.transfer.document))
        users = frozenset({item.user_id, item.recipient_id or item.user_id})
        subject = Subject(timeline.transfer_id, item.request_id or None, users)
    window = _window(timeline)
    await ticket.attempt("overview.json", _overview(payflow))
    await ticket.attempt("proof.json", _proof(payflow))
    await ticket.attempt("metrics.json", _metrics(sources, window))
    await _add_lines(ticket, sources, subject, window=window)
    ticket.add("versions.json", await _versions(sources))
    ticket.files["README.txt"] = _read_me(ticket, timeline, window)
    return ticket


async def _overview(payflow: PayFlow) -> Any:
    return (await payflow.operator.overview()).document


async def _proof(payflow: PayFlow) -> Any:
    return (await payflow.operator.proof()).document


async def _metrics(sources: Sources, window: Window) -> Any:
    if sources.prometheus is not None:
        async with _named("Prometheus at PAYFLOW_PROMETHEUS_URL"):
            return {"window": _bounds(window), "series": await evidence.read_metrics(sources.prometheus, window)}
    if not sources.processes:
        raise Unreachable("PAYFLOW_PROMETHEUS_URL is not set, and this is not the gateway of a local stack")
    now = await evidence.read_local_metrics(sources.processes)
    return {"at": timestamp(evidence.utc_now()), "note": "values now, without Prometheus", "processes": now}


async def _add_lines(ticket: Ticket, sources: Sources, subject: Subject, *, window: Window) -> None:
    name = "logs.jsonl"
    try:
        lines = await _lines(sources, subject, window)
    except Unreachable as error:
        ticket.missing[name] = redaction.redact_text(str(error))
    else:
        ticket.files[name] = evidence.joined([redaction.redact(line) for line in lines])


async def _lines(sources: Sources, subject: Subject, window: Window) -> list[dict[str, Any]]:
    if sources.loki is not None:
        async with _named("Loki at PAYFLOW_LOKI_URL"):
            return await evidence.read_loki(sources.loki, subject, window)
    if sources.logs is not None:
        return evidence.read_log_files(sources.logs, subject)
    raise Unreachable("PAYFLOW_LOKI_URL is not set, and this is not the gateway of a local stack")


async def _versions(sources: Sources) -> dict[str, Any]:
    found: dict[str, Any] = {"payflow": metadata.version("payflow"), "python": platform.python_version()}
    if sources.prometheus is None and sources.processes:
        try:
            processes = await evidence.read_local_metrics(sources.processes)
        except Unreachable:
            return found
        builds = {name: [line for line in lines if "build_info" in line] for name, lines in processes.items()}
        found["processes"] = {name: lines for name, lines in builds.items() if lines}
    return found


@asynccontextmanager
async def _named(source: str) -> AsyncIterator[None]:
    """Name the source in its error. Its address may contain a password."""
    try:
        yield
    except Unreachable as error:
        raise Unreachable(f"{source}: {error}") from error


def _window(timeline: Timeline) -> Window:
    moments = [step.at for step in timeline.steps] or [evidence.utc_now()]
    end = (timeline.as_of or evidence.utc_now()) if timeline.waiting_for else moments[-1]
    return Window(moments[0] - BEFORE, min(end, moments[0] + WINDOW_MAX) + AFTER)


def _bounds(window: Window) -> dict[str, str | None]:
    return {"from": timestamp(window.since), "to": timestamp(window.until)}


def _read_me(ticket: Ticket, timeline: Timeline, window: Window) -> str:
    lines = [
        f"Transfer {timeline.transfer_id}: {timeline.status}",
        f"Waits for: {timeline.waiting_for or 'nothing'}",
        f"For the customer: {timeline.summary}",
        "",
        "Time (UTC)                    Gap (ms)  Step",
        *_steps(timeline),
        "",
        f"Files, for {_time(window.since)} to {_time(window.until)}: {', '.join(ticket.files)}",
        *(f"Missing: {name}: {reason}" for name, reason in ticket.missing.items()),
        "",
        "Secrets, e-mail addresses and what customers wrote were removed. Ids of users and transfers were not.",
    ]
    return redaction.redact_text("\n".join(lines)) + "\n"


def _steps(timeline: Timeline) -> list[str]:
    lines = []
    before: datetime | None = None
    for step in timeline.steps:
        gap = (step.at - (before or step.at)).total_seconds() * 1000
        before = step.at
        lines.append(f"{_time(step.at)}  {gap:10.1f}  {step.step} ({step.service}) {step.detail or ''}".rstrip())
    return lines


def _time(moment: datetime) -> str:
    return str(timestamp(moment))
