"""The rules with shortened durations: the same alerts, which wait for less."""

from __future__ import annotations

import re
from typing import Any

import pytest

from deploy.monitoring import shortened
from tests.harness import monitoring, promql

DELAY_SECONDS_MAX = 75 + 20

SHORT = {
    rule.get("alert") or rule["record"]: rule
    for document in shortened.documents().values()
    for group in document["groups"]
    for rule in group["rules"]
}
REAL = {rule.get("alert") or rule["record"]: rule for rule in monitoring.rules()}
EACH = pytest.mark.parametrize("name", REAL)


def durations(rule: dict[str, Any]) -> list[int]:
    """The seconds of every range of a rule."""
    return [shortened.seconds(text) for text in re.findall(r"\[(\d+[smhd])\]", rule["expr"])]


def test_every_rule_is_there() -> None:
    """No rule is lost, and none is added."""
    assert list(REAL) == list(SHORT)


@EACH
def test_only_durations_differ(name: str) -> None:
    """Series, labels, severity and texts are those of the real rule, and no duration is longer."""
    real, short = REAL[name], SHORT[name]
    changed = {"expr", "for"}

    assert {k: v for k, v in real.items() if k not in changed} == {k: v for k, v in short.items() if k not in changed}
    assert promql.selectors(real["expr"]) == promql.selectors(short["expr"])
    assert all(low <= high for low, high in zip(durations(short), durations(real), strict=True))
    assert shortened.seconds(short.get("for", "0s")) <= shortened.seconds(real.get("for", "0s"))


@EACH
def test_no_rule_waits_for_long(name: str) -> None:
    """From the fault to the alert it takes at most a minute and a half. Of several ages the shortest is proven."""
    ages = [
        float(text)
        for text in re.findall(r"(?:job_seconds_since_success|seal_lag_seconds)\S* > (\d+)", SHORT[name]["expr"])
    ]
    longest = max([min(ages, default=0.0), *(durations(SHORT[name]) if "absent" not in SHORT[name]["expr"] else [])])

    assert longest + shortened.seconds(SHORT[name].get("for", "0s")) <= DELAY_SECONDS_MAX


def test_the_windows_of_an_error_budget_keep_their_order() -> None:
    """The short window of each pair is shorter than the long one, so that an alert ends soon after its cause."""
    for bad in ("requests_failed", "transfers_late"):
        ranges = {window: durations(SHORT[f"payflow:{bad}:ratio_rate{window}"]) for window in ("30m", "6h", "2h", "1d")}
        assert ranges["30m"] < ranges["6h"]
        assert ranges["2h"] <= ranges["1d"]


def test_an_alert_differs_with_its_recorded_series() -> None:
    """What is proven with shorter windows is not called real, also if the windows are in recording rules."""
    assert {"PayflowAvailabilityBurnFast", "PayflowFinalityBurnSlow", "HostCpuHigh"} <= shortened.changed()
    assert not {"PayflowApiDown", "PostgresDown", "HostDiskLow", "PayflowLedgerDrift"} & shortened.changed()
