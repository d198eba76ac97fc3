"""What is read from the log of the receiver."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.alerts.notifications import FIRING, RESOLVED, Expected, Notifications

DOWN = Expected("PayflowApiDown", {"role": "wallet"})


def write(log: Path, status: str, role: str) -> None:
    """Append a line as the log of alerts writes it."""
    line = {
        "event": "alert_received",
        "status": status,
        "alertname": DOWN.alert,
        "labels": {"role": role, "job": "payflow"},
    }
    with log.open("a") as file:
        file.write(json.dumps(line) + "\n")


async def test_an_alert_is_open_from_its_notification_to_its_end(tmp_path: Path) -> None:
    """Another alert of the same name does not count, and an incomplete line is not read before its end."""
    log = tmp_path / "alerts.log"
    notifications = Notifications(log)
    notifications.read()
    write(log, FIRING, "auth")
    notifications.read()
    assert not notifications.is_open(DOWN)

    began = time.monotonic()
    write(log, FIRING, "wallet")
    with log.open("a") as file:
        file.write('{"event": "alert')
    notifications.read()
    assert notifications.is_open(DOWN)
    assert await notifications.fired(DOWN, since=began, seconds_max=1) is not None
    assert await notifications.resolved(DOWN, since=began, seconds_max=0) is None

    log.write_text(log.read_text().removesuffix('{"event": "alert'))
    write(log, RESOLVED, "wallet")
    notifications.read()
    assert not notifications.is_open(DOWN)
    assert await notifications.resolved(DOWN, since=began, seconds_max=1) is not None
    assert ["auth"] == [each.labels["role"] for each in notifications.open()]


async def test_the_end_of_an_inhibited_alert_is_not_notified(tmp_path: Path) -> None:
    """What no longer fires is recorded as ended, although the receiver was never notified of it."""
    log = tmp_path / "alerts.log"
    notifications = Notifications(log)
    write(log, FIRING, "wallet")
    notifications.read()

    notifications.end(all_but={DOWN.alert})
    assert notifications.is_open(DOWN)
    notifications.end(all_but={"Watchdog"})
    assert not notifications.is_open(DOWN)
