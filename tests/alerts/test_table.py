"""The table of faults covers the rules, and nothing in it is hidden by the configuration of Alertmanager."""

from __future__ import annotations

from tests.alerts import table
from tests.harness import monitoring

ALERTS = {alert["alert"] for alert in monitoring.alerts()}


def test_every_alert_has_a_fault_or_a_reason() -> None:
    """Guarantee 63: `make alerts-prove` causes each alert, or names why it does not."""
    assert ALERTS == table.proven() | set(table.NOT_HERE)
    assert not table.proven() & set(table.NOT_HERE)
    assert all(table.NOT_HERE.values())


def test_no_fault_hides_an_alert_of_its_wave() -> None:
    """Alertmanager does not notify what follows from another alert, so both are never caused together."""
    hidden = [
        (cause, consequence)
        for wave in table.WAVES
        for cause in alerts_of(wave)
        for consequence in alerts_of(wave)
        if monitoring.is_inhibited(consequence, by=cause)
    ]

    assert [] == hidden


def alerts_of(wave: table.Wave) -> list[table.Labels]:
    """The labels of the alerts that a wave proves."""
    return [{"alertname": each.alert, **each.labels} for fault in wave for each in fault.proves]
