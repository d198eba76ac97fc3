"""The output of a run: a line for each part, a table at the end, and bench.json."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.chaos.report import commit
from tests.performance import bars, figures, overhead, proof
from tests.performance.parts import END_TO_END, GROWTH, PAIRED, PROCESSES
from tests.performance.run import Run


def document(run: Run, *, seconds: float, started_at: str) -> dict[str, Any]:
    """The content of bench.json."""
    found = run.found
    yardstick: dict[str, Any] = {
        "pgbench_one_per_commit_tps": figures.median(run.yardstick.uniform),
        "pgbench_hot_tps": figures.median(run.yardstick.hot),
        "one_per_commit_runs": run.yardstick.uniform,
        "postgres_cpu_us": figures.median(run.yardstick.cpu_us),
    }
    made = {
        "commit": commit(),
        "seed": run.plan.seed,
        "seconds": run.plan.seconds,
        "cores": os.cpu_count(),
        "yardstick": yardstick,
        "ledger": found.get("ledger", {}),
        "end_to_end": {name: found[name] for name in END_TO_END if name in found},
        "drain": found.get("drain", {}),
        "reads": found.get("reads", {}),
        "processes": {name: found[name] for name in PROCESSES if name in found},
        "growth": {name: found[name] for name in GROWTH if name in found},
        "observability": found.get("observability", {}),
        "ratios": figures.ratios(yardstick, found),
        "proof": {check: all(one.get(check, True) for one in run.proofs.values()) for check in proof.CHECKS},
        "proofs": run.proofs,
        "background_cpu_ms_per_s": run.background,
        "concurrency": run.plan.concurrency,
        "full": run.plan.full,
        "started_at": started_at,
        "run_s": round(seconds, 1),
        "machine": f"{platform.system()} {platform.machine()}",
        "load_average": os.getloadavg(),
    }
    return made | {"guarantees": [bar._asdict() | {"met": bar.met} for bar in bars.bars(made)]}


def line(name: str, measured: Mapping[str, Any]) -> str:
    """One part in a line."""
    if name == "ledger":
        return (
            f"{measured['uniform_256_tps']:,.0f} transfers/s, hot {measured['hot_256_tps']:,.0f}/s, "
            f"{measured['wal_bytes_per_transfer']} bytes of log each"
        )
    if name == "reads":
        return f"{measured['balance_per_s']:,.0f} balances/s, p99 {measured['p99_ms']} ms; {_statements(measured)}"
    if name in PAIRED:
        return overhead.line(measured)
    if name == "drain":
        return f"{measured['backlog']:,} transfers at {measured['per_s']:,.0f}/s"
    if name in GROWTH:
        return (
            f"{measured['transfers']:,} transfers, {measured['accounts']:,} wallets: "
            f"ledger {measured['ledger']['uniform_256_tps']:,.0f}/s, "
            f"end to end {measured['uniform']['completed_per_s']:,.0f}/s; "
            f"balance p99 {measured['reads']['p99_ms']} ms, {_statements(measured['reads'])}"
        )
    beside = figures.ratio(measured["completed_per_s"], measured["yardstick_tps"])
    accept, complete = measured["accept_ms"], measured["complete_ms"]
    return (
        f"{measured['completed_per_s']:,.0f} completed/s = {beside:.2f} x PG-1 beside it; "
        f"accept p50 {accept['p50']} ms, complete p50 {complete['p50']} ms, p99 {complete['p99']} ms; "
        f"{measured['cpu_us_per_transfer']:.0f} us"
    )


def _statements(measured: Mapping[str, Any]) -> str:
    return f"{measured['statements']['per_s']:,.0f} statements/s, p99 {measured['statements']['ms']['p99']} ms"


def show(console: Console, document: Mapping[str, Any]) -> None:
    """Print the tables."""
    console.print(_rates(document))
    if document["end_to_end"]:
        console.print(_costs(document))
    if document["observability"]:
        console.print(overhead.table(document["observability"]))
    console.print(_bars(document))
    background = document["background_cpu_ms_per_s"]
    console.print(f"at rest all processes use {sum(background.values()):.0f} ms of CPU a second")
    passed = all(document["proof"].values())
    text = ", ".join(f"{name} {'yes' if ok else 'NO'}" for name, ok in document["proof"].items())
    console.print(f"proof: {text.replace('_', ' ')}", style="bold green" if passed else "bold red")


def _rates(document: Mapping[str, Any]) -> Table:
    table = Table(title="Rates", title_justify="left")
    for column in ("load", "completed/s", "x PG-1", "accept p50 / p99 ms", "complete p50 / p99 ms", "failed", "lost"):
        table.add_column(column, justify="left" if column == "load" else "right")
    reference = document["yardstick"]["pgbench_one_per_commit_tps"]
    table.add_row("PG-1: one transfer per commit", f"{reference:,.0f}", "1")

    def rate(name: str, value: float, *more: str) -> None:
        table.add_row(name, f"{value:,.0f}", f"{figures.ratio(value, reference):.2f}", *more)

    if document["ledger"]:
        rate("ledger alone", document["ledger"]["uniform_256_tps"])
        rate("ledger alone, hot receiver", document["ledger"]["hot_256_tps"])
    for name, one in document["end_to_end"].items():
        accept, complete = one["accept_ms"], one["complete_ms"]
        times = (f"{accept['p50']:.1f} / {accept['p99']:.1f}", f"{complete['p50']:.1f} / {complete['p99']:.1f}")
        clients = "1 connection" if one["connections"] == 1 else f"{one['connections']} connections"
        label = f"{name.removesuffix('_64').replace('_', ' ')}, {clients}"
        rate(label, one["completed_per_s"], *times, str(one["failed"]), str(one["lost"]))
    if document["drain"]:
        rate(f"drain of {document['drain']['backlog']:,}", document["drain"]["per_s"])
    if document["reads"]:
        rate("balance reads", document["reads"]["balance_per_s"], f"- / {document['reads']['p99_ms']}")
    return table


def _bars(document: Mapping[str, Any]) -> Table:
    table = Table(title="Guarantees about speed (docs/guarantees.md, F)", title_justify="left")
    for column in ("#", "what", "figure", "limit", "kept"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for bar in document["guarantees"]:
        limit = f"{'at least' if bar['least'] else 'at most'} {bar['limit']:,g}"
        kept = "yes" if bar["met"] else "no"
        table.add_row(str(bar["number"]), bar["what"], f"{bar['figure']:,g}", limit, kept)
    return table


def _costs(document: Mapping[str, Any]) -> Table:
    """CPU microseconds by process and other costs, a column for each load."""
    loads = {name: one for name, one in document["end_to_end"].items() if name != "idle"}
    table = Table(title="One transfer costs", title_justify="left")
    table.add_column("CPU microseconds, then others")
    for name in loads:
        table.add_column(name, justify="right")
    processes = sorted({process for one in loads.values() for process in one["cpu_us"]})
    for process in processes:
        table.add_row(process, *(f"{one['cpu_us'].get(process, 0.0):.0f}" for one in loads.values()))
    table.add_section()
    table.add_row("all processes", *(f"{one['cpu_us_per_transfer']:.0f}" for one in loads.values()), style="bold")
    for label, key in (
        ("load generator", "generator_cpu_us"),
        ("cores used, with the generator", "cores_used"),
        ("rows written", "rows_written"),
        ("bytes of write-ahead log", "wal_bytes_per_transfer"),
        ("database transactions", "commits_per_transfer"),
    ):
        table.add_row(label, *(f"{one[key]:g}" for one in loads.values()))
    for kind in sorted({kind for one in loads.values() for kind in one["batches"]}):
        table.add_row(f"batch of {kind}", *(f"{one['batches'].get(kind, 0.0):g}" for one in loads.values()))
    return table
