"""The ages of the backups as metrics, read from the folder of the backups."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, start_http_server

ENDED = "%Y-%m-%d %H:%M:%S+00"
"""What backup.sh writes when a base backup is complete."""

SEGMENT = re.compile(r"[0-9A-F]{24}(\.partial)?")


class Metrics:
    """Gauges whose values are read when they are collected."""

    def __init__(self, folder: Path) -> None:
        """`folder` is PAYFLOW_BACKUP_FOLDER, with a folder for each server and timeline."""
        self.registry = CollectorRegistry()
        base = Gauge(
            "payflow_backup_base_timestamp_seconds",
            "When the newest base backup ended (Unix time); 0 without any.",
            registry=self.registry,
        )
        base.set_function(lambda: max(_base_times(folder), default=0.0))
        log = Gauge(
            "payflow_backup_log_timestamp_seconds",
            "When the log of PostgreSQL was last received (Unix time); 0 without any.",
            registry=self.registry,
        )
        log.set_function(lambda: max(_log_times(folder), default=0.0))


def serve(folder: Path, port: int) -> None:
    """Serve the metrics of a folder until the process is ended."""
    start_http_server(port, registry=Metrics(folder).registry)
    threading.Event().wait()


def _base_times(folder: Path) -> Iterator[float]:
    for ended in folder.glob("*/base/[0-9]*/ended"):
        try:
            yield datetime.strptime(ended.read_text().strip(), ENDED).replace(tzinfo=UTC).timestamp()
        except (OSError, ValueError):
            # It was pruned meanwhile, or is not a backup of ours.
            continue


def _log_times(folder: Path) -> Iterator[float]:
    for segment in folder.glob("*/wal/*"):
        if SEGMENT.fullmatch(segment.name):
            try:
                yield segment.stat().st_mtime
            except OSError:
                continue
