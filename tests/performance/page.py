"""Write the measured tables of docs/performance.md from .payflow/bench.json: `make performance`."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deploy.local.errors import LocalError
from deploy.local.home import REPOSITORY, Home
from tests.performance import figures

DOCUMENT = REPOSITORY / "docs" / "performance.md"
BEGIN, END = "<!-- measured: written by make performance -->", "<!-- end of measured -->"
BUSY = 0.7
"""The part of a core that a process may use in the capacity model."""

RATES = (500, 1_000, 2_000, 5_000, 10_000)
"""Transfers per second of the capacity model."""

Cells = Sequence[object]


def page(text: str, document: Mapping[str, Any]) -> str:
    """The page with the tables of this run between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables(document)}\n\n{END}{after}"


def tables(document: Mapping[str, Any]) -> str:
    """The run, rates, guarantees, costs, growth and capacity, as Markdown."""
    parts = [_run(document), *_rates(document), *_guarantees(document)]
    uniform = document["end_to_end"].get("uniform")
    if uniform:
        parts += [*_costs(document), *_growth(document), *_capacity(uniform)]
    return "\n\n".join(parts)


def _run(document: Mapping[str, Any]) -> str:
    kind = "`make bench FULL=1`" if document["full"] else "`make bench`"
    load = document["load_average"][2]
    return (
        f"{kind}, commit {document['commit']}, {document['started_at'][:10]}, {document['machine']}, {document['cores']} cores, "
        f"stretches of {document['seconds']} s, load average {load:.1f} at the end. The proof "
        f"{'passed' if all(document['proof'].values()) else 'FAILED'} after every stretch. At rest all processes "
        f"together use {sum(document['background_cpu_ms_per_s'].values()):.0f} ms of CPU a second."
    )


def _table(head: Cells, rows: Iterator[Cells]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def _rates(document: Mapping[str, Any]) -> Iterator[str]:
    yield "### Rates"
    reference = document["yardstick"]["pgbench_one_per_commit_tps"]

    def rows() -> Iterator[Cells]:
        yield "PG-1", f"{reference:,.0f}", "1", "", ""
        yield "PG-1, one receiver", f"{document['yardstick']['pgbench_hot_tps']:,.0f}", "", "", ""
        if ledger := document["ledger"]:
            for name, key in (("ledger alone", "uniform_256_tps"), ("ledger alone, one receiver", "hot_256_tps")):
                yield name, f"{ledger[key]:,.0f}", f"{figures.ratio(ledger[key], reference):.2f}", "", ""
        for name, one in (document["end_to_end"] | document["processes"]).items():
            rate, accept, complete = one["completed_per_s"], one["accept_ms"], one["complete_ms"]
            yield (
                f"{name.removesuffix('_64').replace('_', ' ')}, {one['connections']} connections",
                f"{rate:,.0f}",
                f"{figures.ratio(rate, reference):.2f}",
                f"{accept['p50']:.1f} / {accept['p99']:.1f}",
                f"{complete['p50']:.1f} / {complete['p99']:.1f}",
            )
        if drain := document["drain"]:
            rate = drain["per_s"]
            yield f"drain of {drain['backlog']:,}", f"{rate:,.0f}", f"{figures.ratio(rate, reference):.2f}", "", ""
        if reads := document["reads"]:
            rate, took = reads["balance_per_s"], reads["ms"]
            yield (
                "balance reads",
                f"{rate:,.0f}",
                f"{figures.ratio(rate, reference):.2f}",
                f"{took['p50']} / {took['p99']}",
                "",
            )

    yield _table(("load", "per second", "× PG-1", "accepted, p50 / p99 ms", "COMPLETED, p50 / p99 ms"), rows())


def _guarantees(document: Mapping[str, Any]) -> Iterator[str]:
    yield "### Guarantees"
    yield _table(
        ("guarantee", "figure", "limit", "kept"),
        (
            (
                f"{bar['number']}: {bar['what']}",
                f"{bar['figure']:,g}",
                f"{'≥' if bar['least'] else '≤'} {bar['limit']:,g}",
                "yes" if bar["met"] else "**no**",
            )
            for bar in document["guarantees"]
        ),
    )


def _costs(document: Mapping[str, Any]) -> Iterator[str]:
    yield "### Cost of one transfer"
    names = [name for name in ("uniform", "uniform_64", "hot", "half_load") if name in document["end_to_end"]]
    loads = [document["end_to_end"][name] for name in names]
    processes = sorted({process for one in loads for process in one["cpu_us"]})

    def rows() -> Iterator[Cells]:
        for process in processes:
            yield process, *(f"{one['cpu_us'].get(process, 0.0):.0f}" for one in loads)
        yield "**all**", *(f"**{one['cpu_us_per_transfer']:.0f}**" for one in loads)
        yield "load generator, not included", *(f"{one['generator_cpu_us']:.0f}" for one in loads)
        yield "cores used, load generator included", *(f"{one['cores_used']:.2f}" for one in loads)
        yield "rows written", *(f"{one['rows_written']:.1f}" for one in loads)
        yield "bytes of write-ahead log", *(f"{one['wal_bytes_per_transfer']:,}" for one in loads)
        yield "database transactions", *(f"{one['commits_per_transfer']:.2f}" for one in loads)
        for kind in sorted({kind for one in loads for kind in one["batches"]}):
            yield f"batch of {kind}", *(f"{one['batches'].get(kind, 0.0):g}" for one in loads)

    yield _table(("CPU µs by process, then others", *(name.replace("_", " ") for name in names)), rows())


def _growth(document: Mapping[str, Any]) -> Iterator[str]:
    if not document["growth"]:
        return
    yield "### Growth"

    def row(name: str, found: Mapping[str, Any]) -> Cells:
        reference = found["yardstick_tps"]
        return (
            name,
            f"{found['ledger']['uniform_256_tps']:,.0f} ({figures.ratio(found['ledger']['uniform_256_tps'], reference):.2f})",
            f"{found['uniform']['completed_per_s']:,.0f} ({figures.ratio(found['uniform']['completed_per_s'], reference):.2f})",
            found["reads"]["p99_ms"],
            found["reads"]["statements"]["ms"]["p99"],
        )

    def rows() -> Iterator[Cells]:
        uniform = document["end_to_end"]["uniform"]
        if document["ledger"] and document["reads"]:
            start = {"ledger": document["ledger"], "uniform": uniform, "reads": document["reads"]}
            yield row("at the start: 10,000 wallets", start | {"yardstick_tps": uniform["yardstick_tps"]})
        for found in document["growth"].values():
            yield row(f"{found['transfers']:,} transfers, {found['accounts']:,} wallets", found)

    yield _table(("", "ledger alone/s (× PG-1)", "end to end/s (× PG-1)", "balance p99 ms", "statement p99 ms"), rows())


def _capacity(uniform: Mapping[str, Any]) -> Iterator[str]:
    yield "### Capacity"
    used: dict[str, float] = {}
    for process, microseconds in uniform["cpu_us"].items():
        name = process.removesuffix("-1").removesuffix("-2")
        used[name] = used.get(name, 0.0) + microseconds

    def rows() -> Iterator[Cells]:
        for name, microseconds in sorted(used.items()):
            cores = [rate * microseconds / 1e6 / BUSY for rate in RATES]
            yield name, f"{microseconds:.0f}", *(f"{core:.1f}" if "/" in name else math.ceil(core) for core in cores)

    yield _table(("process", "µs", *(f"{rate:,}/s" for rate in RATES)), rows())


def main() -> int:
    """Write the page; 2 if there is no run to write about."""
    try:
        path = Home.from_environment(os.environ).path / "bench.json"
        document = json.loads(path.read_text())
    except (LocalError, FileNotFoundError) as error:
        print(f"performance: {error}; run make bench first", file=sys.stderr)
        return 2
    DOCUMENT.write_text(page(DOCUMENT.read_text(), document))
    return 0


if __name__ == "__main__":
    sys.exit(main())
