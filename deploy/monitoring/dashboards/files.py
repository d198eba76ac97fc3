"""The files of all dashboards."""

from __future__ import annotations

from pathlib import Path

from deploy.monitoring.dashboards import dashboard, engines, hosts, ledger, overview, path, queues, users

DASHBOARDS = {
    "overview": overview.OVERVIEW,
    "path": path.PATH,
    "queues": queues.QUEUES,
    "ledger": ledger.LEDGER,
    "engines": engines.ENGINES,
    "hosts": hosts.HOSTS,
    "users": users.USERS,
}
"""By the name of the file."""


def texts() -> dict[str, str]:
    """The content of every file below `monitoring/grafana/dashboards/`, by name."""
    return {f"{name}.json": dashboard.text(one) for name, one in DASHBOARDS.items()}


def write(folder: Path) -> None:
    """Write all files."""
    for name, text in texts().items():
        (folder / name).write_text(text)
