"""What a ticket shows beside the trace: metrics and log lines, from Prometheus and Loki or from the local stack."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from payflow import log_line
from payflow.log_line import Subject

SECONDS = 5.0
"""The deadline for each source."""

STEP_SECONDS_MIN = 5
POINTS_MAX = 200
LINES_MAX = 2000
FILE_BYTES_MAX = 64 * 1024 * 1024
"""The end of each log file that is searched."""

SERIES = (
    "payflow_pending_transfers",
    "payflow_stale_pending_transfers",
    "payflow_queue_oldest_age_seconds",
    "payflow_queue_drain_per_second",
    "payflow_queue_messages",
    "payflow_outbox_unpublished",
    "payflow_outbox_lag_seconds",
    "payflow_dead_letters",
    "payflow_queue_leaderless",
    "payflow_ledger_proof_ok",
    "payflow_ledger_drift_minor_units",
    "payflow_job_last_success_timestamp_seconds",
    "payflow_build_info",
)
"""Gauges about every hop of a transfer; none has a label that names a customer."""

ALERTS = "ALERTS"
"""The alerts of Prometheus."""

LOKI_STREAMS = '{service=~".+"}'


class Unreachable(Exception):  # noqa: N818 - reads as what it is
    """A source that could not be read; the text says why."""


class Window(NamedTuple):
    """The time that a ticket is about."""

    since: datetime
    until: datetime


async def read_metrics(prometheus: str, window: Window) -> dict[str, Any]:
    """The series over the window, by name: lists of labels and values.

    Raises:
        Unreachable
    """
    seconds = (window.until - window.since).total_seconds()
    step = max(STEP_SECONDS_MIN, int(seconds / POINTS_MAX) + 1)
    bounds = {"start": window.since.timestamp(), "end": window.until.timestamp(), "step": step}
    found = {}
    for name in (*SERIES, ALERTS):
        params = {"query": name} | {key: str(value) for key, value in bounds.items()}
        document = await _get(f"{prometheus.rstrip('/')}/api/v1/query_range", params)
        try:
            found[name] = [{"labels": each["metric"], "values": each["values"]} for each in document["data"]["result"]]
        except (KeyError, TypeError) as error:
            raise Unreachable("the response is not that of Prometheus") from error
    return found


async def read_local_metrics(processes: Mapping[str, str]) -> dict[str, Any]:
    """The series now, by process: the lines of each `/metrics` about them. `processes`: address by name.

    Raises:
        Unreachable: no process responded.
    """
    texts = await asyncio.gather(*(_get_text(f"{url}/metrics") for url in processes.values()), return_exceptions=True)
    found = {
        name: [line for line in text.splitlines() if line.startswith(SERIES)]
        for name, text in zip(processes, texts, strict=True)
        if isinstance(text, str)
    }
    if not found:
        raise Unreachable("no process of the local stack responded")
    return {name: lines for name, lines in found.items() if lines}


def loki_query(subject: Subject) -> str:
    """The query in LogQL for the lines about a transfer."""
    return f"{LOKI_STREAMS} |~ `{subject.pattern()}`"


async def read_loki(loki: str, subject: Subject, window: Window) -> list[dict[str, Any]]:
    """The log lines of the window about a transfer, the oldest first.

    Raises:
        Unreachable
    """
    params = {
        "query": loki_query(subject),
        "start": str(int(window.since.timestamp() * 1e9)),
        "end": str(int(window.until.timestamp() * 1e9)),
        "limit": str(LINES_MAX),
        "direction": "forward",
    }
    document = await _get(f"{loki.rstrip('/')}/loki/api/v1/query_range", params)
    try:
        streams = document["data"]["result"]
        found = [(int(at), stream["stream"], line) for stream in streams for at, line in stream["values"]]
    except (KeyError, TypeError, ValueError) as error:
        raise Unreachable("the response is not that of Loki") from error
    lines = (
        log_line.read_line(str(labels.get("service", "loki")), line, subject)
        for _, labels, line in sorted(found, key=lambda each: each[0])
    )
    return [line for line in lines if line is not None]


def read_log_files(folder: Path, subject: Subject) -> list[dict[str, Any]]:
    """The lines of a local stack's log files about a transfer, the oldest first; the newest 2,000.

    Raises:
        Unreachable: the folder cannot be read.
    """
    found: deque[dict[str, Any]] = deque(maxlen=LINES_MAX)
    try:
        lines = [
            line
            for file in sorted(folder.glob("*.log*"))
            for text in _lines(file)
            if (line := log_line.read_line(file.name.partition(".")[0], text, subject)) is not None
        ]
    except OSError as error:
        raise Unreachable(f"{folder}: {error.strerror}") from error
    found.extend(sorted(lines, key=lambda line: str(line.get("timestamp", ""))))
    return list(found)


def _lines(file: Path) -> Iterator[str]:
    with file.open("rb") as opened:
        size = file.stat().st_size
        opened.seek(max(0, size - FILE_BYTES_MAX))
        for raw in opened:
            yield raw.decode(errors="replace")


async def _get(url: str, params: Mapping[str, str]) -> Any:
    text = await _get_text(url, params)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreachable("the response is not JSON") from error


async def _get_text(url: str, params: Mapping[str, str] | None = None) -> str:
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.get(url, params=params, allow_redirects=False) as response,
        ):
            if response.status != 200:  # noqa: PLR2004 - every other status is a failure
                raise Unreachable(f"it responded with {response.status}")
            return await response.text(errors="replace")
    except TimeoutError as error:
        raise Unreachable(f"no response within {SECONDS:g} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise Unreachable(f"no connection ({type(error).__name__})") from error


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def joined(lines: Iterable[Mapping[str, Any]]) -> str:
    """One JSON document per line."""
    return "".join(f"{json.dumps(line)}\n" for line in lines)
