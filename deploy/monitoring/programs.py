"""The programs of Prometheus and its exporters, by the names that Debian gives them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

PROGRAMS = {
    "prometheus": ("prometheus", "promtool"),
    "prometheus-alertmanager": ("prometheus-alertmanager", "amtool"),
    "prometheus-node-exporter": ("prometheus-node-exporter",),
    "prometheus-postgres-exporter": ("prometheus-postgres-exporter",),
    "prometheus-redis-exporter": ("prometheus-redis-exporter",),
    "prometheus-blackbox-exporter": ("prometheus-blackbox-exporter",),
}
"""The programs of each OS package."""


def finder(package: str) -> Callable[[], Path | None]:
    """A function that finds the main program of a package, or None if one of its programs is missing."""

    def find() -> Path | None:
        found = [shutil.which(program) for program in PROGRAMS[package]]
        return Path(found[0]) if found[0] and all(found) else None

    return find


FINDERS = {package: finder(package) for package in PROGRAMS}
