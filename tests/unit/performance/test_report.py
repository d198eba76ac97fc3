from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import Any, cast

from rich.console import Console

from tests.performance import page, report
from tests.performance.parts import END_TO_END, Plan
from tests.performance.run import Run

TIMES = {"p50": 1.0, "p95": 2.0, "p99": 3.0}
LOAD: dict[str, Any] = {
    "sent": 10,
    "accepted_per_s": 12.0,
    "completed_per_s": 11.0,
    "completed": 10,
    "failed": 0,
    "lost": 0,
    "accept_ms": TIMES,
    "complete_ms": TIMES,
    "cpu_us_per_transfer": 500.0,
    "cpu_us": {"gateway": 500.0},
    "generator_cpu_us": 20.0,
    "cores_used": 1.9,
    "rows_written": 9.0,
    "wal_bytes_per_transfer": 4000,
    "commits_per_transfer": 0.1,
    "batches": {"wallet: ledger": 64.0},
    "connections": 1,
    "yardstick_tps": 10.0,
}


GROWN: dict[str, Any] = {
    "transfers": 1_000_000,
    "accounts": 10_000,
    "ledger": {"uniform_256_tps": 80.0},
    "uniform": {"completed_per_s": 18.0},
    "reads": {"p99_ms": 4.0, "statements": {"ms": TIMES}},
    "yardstick_tps": 20.0,
}


def measured(*, proven: bool = True) -> Run:
    yardstick = SimpleNamespace(uniform=[9.0, 11.0], hot=[5.0], cpu_us=[200.0])
    run = Run(
        Plan(seed=7),
        system=cast("Any", None),
        yardstick=cast("Any", yardstick),
        stretches=cast("Any", None),
        report=print,
        began=0,
    )
    run.found |= dict.fromkeys(END_TO_END, LOAD)
    run.found["ledger"] = {"uniform_256_tps": 50.0, "hot_256_tps": 45.0, "wal_bytes_per_transfer": 900}
    run.found["drain"] = {"backlog": 5000, "per_s": 22.0}
    run.found["reads"] = {
        "balance_per_s": 15.0,
        "p99_ms": 4.0,
        "ms": TIMES,
        "statements": {"ms": TIMES},
        "yardstick_tps": 10.0,
    }
    run.proofs["uniform"] = {"conserved": True, "balances_equal_entries": True, "statuses_equal_outcomes": True}
    run.proofs["ledger, the ledger alone"] = {"conserved": proven, "balances_equal_entries": True}
    return run


def test_document_has_every_field_that_readers_rely_on() -> None:
    """The names of bench.json, in all five loads."""
    document = report.document(measured(), seconds=100.0, started_at="2026-12-01T00:00:00+00:00")

    assert {"commit", "seed", "seconds", "cores", "yardstick", "ledger", "end_to_end", "drain", "reads"} <= set(
        document
    )
    assert {"pgbench_one_per_commit_tps": 10.0, "pgbench_hot_tps": 5.0}.items() <= document["yardstick"].items()
    assert {"uniform_256_tps", "hot_256_tps", "wal_bytes_per_transfer"} <= set(document["ledger"])
    for load in ("uniform", "hot", "pingpong", "idle", "half_load"):
        assert set(LOAD) <= set(document["end_to_end"][load])
    assert {"backlog", "per_s"} <= set(document["drain"])
    assert {"balance_per_s", "p99_ms"} <= set(document["reads"])
    assert {"ledger": 5.0, "ledger_hot": 0.9, "end_to_end": 1.1}.items() <= document["ratios"].items()
    assert {"conserved": True, "balances_equal_entries": True, "statuses_equal_outcomes": True} == document["proof"]
    assert 7 == json.loads(json.dumps(document))["seed"]


def test_guarantees_about_speed_are_compared_with_their_limits() -> None:
    """Each that was measured, with its figure; the limit of CPU is scaled by the yardstick."""
    run = measured()
    run.found["ledger"]["yardstick_tps"] = 10.0
    run.found["history"] = {
        "ledger": {"uniform_256_tps": 80.0},
        "uniform": {"completed_per_s": 18.0},
        "reads": {"p99_ms": 2.0, "statements": {"ms": {"p99": 2.0}}},
        "yardstick_tps": 20.0,
    }

    kept = {bar["what"]: bar for bar in report.document(run, seconds=1.0, started_at="")["guarantees"]}

    assert (0.8, False) == (
        kept["history: ledger alone x before"]["figure"],
        kept["history: ledger alone x before"]["met"],
    )
    assert (0.818, False) == (
        kept["history: end to end x before"]["figure"],
        kept["history: end to end x before"]["met"],
    )
    assert (1.0, True) == (
        kept["history: balance p99 x before"]["figure"],
        kept["history: balance p99 x before"]["met"],
    )
    assert (1.334, False) == (
        kept["history: statement p99 x before"]["figure"],
        kept["history: statement p99 x before"]["met"],
    )
    assert kept["end to end x PG-1"]["met"]
    assert kept["idle: accepted, p50 ms"]["met"]
    assert 198_000 == kept["CPU microseconds per transfer"]["limit"]
    assert not kept["ledger alone, transfers/s"]["met"]
    assert sorted({70, 71, 72, 73, 74, 75, 76, 77, 78, 79}) == sorted({bar["number"] for bar in kept.values()})


def test_one_failed_proof_fails_the_run() -> None:
    """The proof of each stretch counts, that of the ledger alone too."""
    document = report.document(measured(proven=False), seconds=100.0, started_at="")

    assert {"conserved": False, "balances_equal_entries": True, "statuses_equal_outcomes": True} == document["proof"]


def test_tables_show_rates_costs_and_the_proof() -> None:
    """One line for each load, one for each process, and the result of the proof."""
    shown = io.StringIO()

    report.show(Console(file=shown, width=120), report.document(measured(), seconds=100.0, started_at=""))

    for text in (
        "PG-1",
        "half load, 1 connection ",
        "drain of 5,000",
        "gateway",
        "batch of wallet: ledger",
        "conserved yes",
    ):
        assert text in shown.getvalue()


def test_page_has_the_tables_of_a_run_between_its_marks() -> None:
    """The text around them stays; writing twice changes nothing more."""
    run = measured()
    run.found["ledger"]["yardstick_tps"] = 10.0
    run.found["history"] = GROWN
    document = report.document(run, seconds=1.0, started_at="2026-12-01T00:00:00+00:00")

    once = page.page(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n", document)

    assert once == page.page(once, document)
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert "old" not in once
    for line in (
        "| uniform, 1 connections | 11 | 1.10 | 1.0 / 3.0 | 1.0 / 3.0 |",
        "| 72: end to end x PG-1 | 1.1 | ≥ 1 | yes |",
        "| 1,000,000 transfers, 10,000 wallets | 80 (4.00) | 18 (0.90) | 4.0 | 3.0 |",
        "| gateway | 500 | 1 | 1 | 2 | 4 | 8 |",
    ):
        assert line in once


def test_page_can_be_written() -> None:
    """docs/performance.md has both marks."""
    assert page.DOCUMENT.read_text().count(page.BEGIN) == page.DOCUMENT.read_text().count(page.END) == 1
