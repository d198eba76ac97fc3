"""The alert rules with shorter durations, for proving alerts that wait for a long time by design."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import yaml

from deploy.monitoring.local import RULES

LONGEST_SECONDS = 60
"""An alert that waits for longer is shortened."""

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def documents() -> dict[str, Any]:
    """The rule files by name, with `for` and ranges of at most a minute; promtool tests the real ones."""
    return {path.name: _shorten(yaml.safe_load(path.read_text())) for path in sorted(RULES.iterdir())}


def _shorten(document: Any) -> Any:
    made = copy.deepcopy(document)
    for rule in _rules(made):
        if _seconds(rule.get("for", "0s")) > LONGEST_SECONDS:
            rule["for"] = "30s"
        rule["expr"] = re.sub(r"\[(\d+[smhd])\]", _range, rule["expr"])
        rule["expr"] = re.sub(r"(payflow:job_seconds_since_success\S*) > \d+", r"\1 > 60", rule["expr"])
    return made


def _range(match: re.Match[str]) -> str:
    return "[1m]" if _seconds(match[1]) > LONGEST_SECONDS else match[0]


def _seconds(duration: str) -> int:
    return int(duration[:-1]) * SECONDS[duration[-1]]


def _rules(document: Any) -> Iterator[Any]:
    for group in document["groups"]:
        yield from group["rules"]
