"""The alert rules with shorter durations: the same files, so that alerts that wait for long by design can be seen firing.

The limits of counts and shares are unchanged. promtool tests the rules with their real durations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from deploy.local.home import REPOSITORY

RULES = REPOSITORY / "monitoring" / "prometheus" / "rules"

FOR_REAL_MAX = "1m"
"""An alert that waits for no longer, and looks back no further, is not changed."""

FOR = "20s"
"""What every other alert waits for."""

RANGES = {"5m": "20s", "30m": "30s", "6h": "45s"}
RANGE_MAX = "1m"
"""Every other range above it. Of an error budget the short window must end first, as with the real durations."""

AGES = {
    "PayflowReversalLate": {"> 90": "> 45"},
    "PayflowTransferJobLate": {"> 60": "> 40"},
    # Not of the proof and the retentions, which take longer on a busy machine. Alertmanager would notify another late job, which
    # joins theirs in a notification, up to a minute later.
    "PayflowJobLate": {"> 120": "> 45", "> 180": "> 60"},
    "PayflowCanaryFailing": {"> 120": "> 60"},
    "PayflowSealLag": {"> 60": "> 30"},
    "PayflowBackupLate": {"> 26 * 3600": "> 60"},
}
"""Ages that an alert compares with: the text in its expression, and the one in its place."""

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def documents() -> dict[str, Any]:
    """The rule files by name, each alert with a delay of at most a minute and a half from its fault."""
    return {path.name: _shorten(yaml.safe_load(path.read_text())) for path in sorted(RULES.glob("*.yml"))}


def changed() -> set[str]:
    """The names of the alerts that differ from the real ones, in themselves or in a series that is recorded for them."""
    real = [rule for path in sorted(RULES.glob("*.yml")) for rule in _rules(yaml.safe_load(path.read_text()))]
    short = [rule for document in documents().values() for rule in _rules(document)]
    differ = {_name(one) for one, other in zip(real, short, strict=True) if one != other}
    while more := {_name(rule) for rule in real if any(name in rule["expr"] for name in differ)} - differ:
        differ |= more
    return differ & {rule["alert"] for rule in real if "alert" in rule}


def _name(rule: Any) -> str:
    return str(rule.get("alert") or rule["record"])


def _shorten(document: Any) -> Any:
    for rule in _rules(document):
        expression = _with_ages(rule["expr"], AGES.get(rule.get("alert", ""), {}))
        expression = re.sub(r"(?<=\[)\d+[smhd](?=\])|(?<=offset )\d+[smhd]", _range, expression)
        if "for" in rule and (expression != rule["expr"] or seconds(rule["for"]) > seconds(FOR_REAL_MAX)):
            rule["for"] = min(rule["for"], FOR, key=seconds)
        rule["expr"] = expression
    return document


def _with_ages(expression: str, ages: Mapping[str, str]) -> str:
    for real, short in ages.items():
        assert real in expression, f"{real} is not in {expression}"
        expression = re.sub(rf"{re.escape(real)}(?!\d)", short, expression)
    return expression


def _range(match: re.Match[str]) -> str:
    real = match[0]
    return RANGES.get(real, RANGE_MAX if seconds(real) > seconds(RANGE_MAX) else real)


def seconds(duration: str) -> int:
    """The seconds of a duration with one unit, such as 30s or 6h."""
    return int(duration[:-1]) * SECONDS[duration[-1]]


def _rules(document: Any) -> Iterator[Any]:
    for group in document["groups"]:
        yield from group["rules"]
