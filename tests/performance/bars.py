"""The guarantees about speed (docs/guarantees.md, F), each with its figure of this run. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tests.performance import figures

PG1_REFERENCE = 3_300.0
"""The limit of CPU is for a machine on which the yardstick has this rate; elsewhere it is scaled by the yardstick."""

CPU_US_MAX = 600.0

READS_FLAT = 1.25
"""How many times higher the p99 of reads may be and still count as flat."""


class Bar(NamedTuple):
    """One figure and its limit; `least`: the figure must be at least the limit; otherwise at most."""

    number: int
    what: str
    figure: float
    limit: float
    least: bool

    @property
    def met(self) -> bool:
        """Whether the figure keeps the limit."""
        return self.figure >= self.limit if self.least else self.figure <= self.limit


def bars(document: Mapping[str, Any]) -> list[Bar]:
    """Those whose part was measured, by number."""
    found = (*_ledger(document), *_loads(document), *_ratios(document), *_growth(document))
    return sorted(found, key=lambda bar: bar.number)


def _ledger(document: Mapping[str, Any]) -> Iterator[Bar]:
    if ledger := document["ledger"]:
        yield Bar(70, "ledger alone, transfers/s", ledger["uniform_256_tps"], 20_000, least=True)
        yield Bar(70, "ledger alone, bytes of log", ledger["wal_bytes_per_transfer"], 1_000, least=False)


def _loads(document: Mapping[str, Any]) -> Iterator[Bar]:
    loads = document["end_to_end"]
    if uniform := loads.get("uniform"):
        limit = round(CPU_US_MAX * PG1_REFERENCE / document["yardstick"]["pgbench_one_per_commit_tps"])
        yield Bar(73, "CPU microseconds per transfer", uniform["cpu_us_per_transfer"], limit, least=False)
    if idle := loads.get("idle"):
        yield Bar(74, "idle: accepted, p50 ms", idle["accept_ms"]["p50"], 6, least=False)
        yield Bar(74, "idle: completed, p50 ms", idle["complete_ms"]["p50"], 15, least=False)
        yield Bar(74, "idle: completed, p99 ms", idle["complete_ms"]["p99"], 50, least=False)
    if half := loads.get("half_load"):
        yield Bar(75, "half load: accepted, p99 ms", half["accept_ms"]["p99"], 50, least=False)
        yield Bar(75, "half load: completed, p99 ms", half["complete_ms"]["p99"], 150, least=False)
    if pingpong := loads.get("pingpong"):
        yield Bar(76, "two users: failed", pingpong["failed"], 0, least=False)


def _ratios(document: Mapping[str, Any]) -> Iterator[Bar]:
    limits = {
        "ledger": (70, "ledger alone x PG-1", 4.0),
        "ledger_hot": (71, "ledger alone, hot receiver x uniform", 0.9),
        "end_to_end": (72, "end to end x PG-1", 1.0),
        "end_to_end_64": (72, "end to end, 64 connections x PG-1", 0.7),
        "hot": (76, "hot receiver x uniform", 0.9),
        "pingpong": (76, "two users x uniform", 0.8),
        "reads": (77, "balance reads x PG-1", 1.2),
        "drain": (78, "drain x end to end", 2.0),
    }
    for name, (number, what, limit) in limits.items():
        if name in document["ratios"]:
            yield Bar(number, what, document["ratios"][name], limit, least=True)


def _growth(document: Mapping[str, Any]) -> Iterator[Bar]:
    """Rates against the yardstick beside them, so that a slower minute does not look like growth."""
    uniform, ledger = document["end_to_end"].get("uniform"), document["ledger"]
    for name, grown in document["growth"].items():
        label = name.replace("_", " ")
        if ledger:
            before = figures.ratio(ledger["uniform_256_tps"], ledger["yardstick_tps"])
            after = figures.ratio(grown["ledger"]["uniform_256_tps"], grown["yardstick_tps"])
            yield Bar(79, f"{label}: ledger alone x before", figures.ratio(after, before), 0.85, least=True)
        if uniform:
            before = figures.ratio(uniform["completed_per_s"], uniform["yardstick_tps"])
            after = figures.ratio(grown["uniform"]["completed_per_s"], grown["yardstick_tps"])
            yield Bar(79, f"{label}: end to end x before", figures.ratio(after, before), 0.85, least=True)
        if document["reads"]:
            for what, slower in _reads_slower(document["reads"], grown["reads"]).items():
                scaled = slower * figures.ratio(grown["yardstick_tps"], document["reads"]["yardstick_tps"])
                yield Bar(79, f"{label}: {what} p99 x before", round(scaled, 3), READS_FLAT, least=False)


def _reads_slower(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, float]:
    return {
        "balance": figures.ratio(after["p99_ms"], before["p99_ms"]),
        "statement": figures.ratio(after["statements"]["ms"]["p99"], before["statements"]["ms"]["p99"]),
    }
