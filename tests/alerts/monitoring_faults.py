"""Faults of what watches the system, and of what it watches from outside."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import yaml

from deploy.monitoring.alerting import CONFIGURATION
from tests.alerts.certificates import FRESH_DAYS
from tests.alerts.injections import Injection
from tests.alerts.rig import Rig

BACKUP_FILE = "payflow_backup.prom"
BACKUP_AGE_SECONDS = 30 * 3600
OFTEN = "10s"


def certificate(days: int) -> Injection:
    """A certificate that is valid for so many days; afterwards it is renewed."""

    @asynccontextmanager
    async def inject(rig: Rig) -> AsyncIterator[None]:
        rig.page.use(days)
        try:
            yield
        finally:
            rig.page.use(FRESH_DAYS)

    return inject


@asynccontextmanager
async def receiver_refuses(rig: Rig) -> AsyncIterator[None]:
    """A second receiver of the watchdog that refuses every notification; the watchdog is repeated more often meanwhile."""
    path = rig.servers.folder / "alertmanager" / CONFIGURATION
    before = path.read_text()
    changed = yaml.safe_load(before)
    (receiver,) = [each for each in changed["receivers"] if each["name"] == "watchdog"]
    # Prometheus accepts no POST of this page.
    receiver["webhook_configs"].append({"url": f"{rig.prometheus.url}/-/ready"})
    (route,) = [each for each in changed["route"]["routes"] if each["receiver"] == "watchdog"]
    route |= {"group_interval": OFTEN, "repeat_interval": OFTEN}
    path.write_text(yaml.safe_dump(changed))
    rig.servers.processes["alertmanager"].send(signal.SIGHUP)
    try:
        yield
    finally:
        path.write_text(before)
        rig.servers.processes["alertmanager"].send(signal.SIGHUP)


@asynccontextmanager
async def backup_late(rig: Rig) -> AsyncIterator[None]:
    """The figures of a base backup that is too old, where the node exporter reads them; afterwards there are none."""
    path = rig.servers.textfiles / BACKUP_FILE
    draft = path.with_suffix(".draft")
    draft.write_text(f"payflow_backup_base_timestamp_seconds {time.time() - BACKUP_AGE_SECONDS:.0f}\n")
    draft.rename(path)
    try:
        yield
    finally:
        path.unlink()
