"""The result of the part `observability`: ratios of pairs of stretches, a line and a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from tests.performance import figures

Stretches = Sequence[Mapping[str, Any]]


def document(on: Stretches, off: Stretches) -> dict[str, Any]:
    """The stretches with metrics and logs and without, with their ratios: those of all pairs, and the median."""
    return {
        "throughput": _ratios("completed_per_s", on, off),
        "cpu": _ratios("cpu_us_per_transfer", on, off),
        "prometheus_cpu_us": figures.median([one["prometheus_cpu_us"] for one in on]),
        "on": list(on),
        "off": list(off),
    }


def line(found: Mapping[str, Any]) -> str:
    """The ratios in a line."""
    throughput, cpu = found["throughput"], found["cpu"]
    return f"with metrics and logs {_text(throughput)} x the throughput, {_text(cpu)} x the CPU of a transfer"


def table(found: Mapping[str, Any]) -> Table:
    """CPU by process and the rates: the median of all stretches with metrics and logs, without, and the difference."""
    made = Table(title="Metrics and logs", title_justify="left")
    for column in ("CPU microseconds of a transfer, then others", "with", "without", "difference"):
        made.add_column(column, justify="right" if made.columns else "left")
    for name, values in _by_process(found):
        made.add_row(name, *values)
    made.add_section()
    for label, key in (("all processes", "cpu_us_per_transfer"), ("completed/s", "completed_per_s")):
        made.add_row(label, *_values([one[key] for one in found["on"]], [one[key] for one in found["off"]]))
    made.add_row("Prometheus, not included", f"{found['prometheus_cpu_us']:.1f}", "", "")
    for label, key in (("throughput", "throughput"), ("CPU of a transfer", "cpu")):
        pairs = ", ".join(f"{ratio:.3f}" for ratio in found[key]["pairs"])
        made.add_row(f"{label}, ratio of each pair: {pairs}", f"{found[key]['median']:.3f}", "1", "")
    return made


def _by_process(found: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, str, str]]]:
    for name in sorted({name for one in (*found["on"], *found["off"]) for name in one["cpu_us"]}):
        used = [[one["cpu_us"].get(name, 0.0) for one in found[mode]] for mode in ("on", "off")]
        yield name, _values(*used)


def _values(on: Sequence[float], off: Sequence[float]) -> tuple[str, str, str]:
    first, second = figures.median(on), figures.median(off)
    return f"{first:,.1f}", f"{second:,.1f}", f"{first - second:+,.1f}"


def _ratios(key: str, on: Stretches, off: Stretches) -> dict[str, Any]:
    pairs = [figures.ratio(first[key], second[key]) for first, second in zip(on, off, strict=True)]
    return {"median": figures.middle(pairs), "pairs": pairs}


def _text(ratios: Mapping[str, Any]) -> str:
    return f"{ratios['median']:.3f} ({min(ratios['pairs']):.3f} to {max(ratios['pairs']):.3f})"
