from __future__ import annotations

import pytest

from tests.performance import parts
from tests.performance.parts import BadVariable
from tests.performance.stretches import Stretches


def test_default_leaves_out_what_changes_the_stack() -> None:
    """Without variables: 10 s, 256 connections, a backlog of 5,000."""
    plan = parts.plan({})

    assert parts.PARTS == plan.parts
    assert (10, 256, 5_000, False) == (plan.seconds, plan.concurrency, plan.backlog, plan.full)


def test_full_run_adds_a_million_transfers_and_accounts() -> None:
    """FULL=1: 30 s, a backlog of 50,000, and last the parts that change the stack and grow the ledger."""
    plan = parts.plan({"FULL": "1"})

    assert (*parts.PARTS, *parts.EXTRA) == plan.parts
    assert (30, 50_000, 1_000_000, 1_000_000) == (plan.seconds, plan.backlog, plan.history, plan.many_accounts)


@pytest.mark.parametrize("only", ["reads, ledger uniform", "uniform ledger reads", "ledger,uniform,reads"])
def test_only_selects_parts_in_their_order(only: str) -> None:
    """ONLY names parts, separated by spaces or commas."""
    assert ("ledger", "uniform", "reads") == parts.plan({"ONLY": only}).parts


def test_only_knows_groups() -> None:
    """A group stands for its parts."""
    assert parts.END_TO_END == parts.plan({"ONLY": "end_to_end uniform"}).parts


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FULL", "yes"),
        ("PROFILE", "2"),
        ("BENCH_SECONDS", "0"),
        ("BENCH_SECONDS", "-1"),
        ("BENCH_SECONDS", "1.5"),
        ("BENCH_SECONDS", "601"),
        ("BENCH_SECONDS", "٣"),
        ("BENCH_CONCURRENCY", "many"),
        ("BENCH_CONCURRENCY", "4097"),
        ("SEED", "9" * 5000),
        ("ONLY", "uniform everything"),
    ],
)
def test_bad_variable_is_refused(name: str, value: str) -> None:
    """The message is one line that names the variable."""
    with pytest.raises(BadVariable, match=name) as refused:
        parts.plan({name: value})

    assert "\n" not in str(refused.value)


def test_stretches_become_shorter_on_a_slow_machine() -> None:
    """A default run ends in time: the remaining parts share the remaining time, at least 3 s each."""
    plan = parts.plan({})

    assert 10 == plan.stretch_seconds(elapsed=20.0, parts_left=8)
    assert 3 <= plan.stretch_seconds(elapsed=100.0, parts_left=6) < 10
    assert 3 == plan.stretch_seconds(elapsed=500.0, parts_left=3)


def test_chosen_length_is_kept() -> None:
    """With BENCH_SECONDS, or in a full run, a slow machine takes longer instead."""
    assert 20 == parts.plan({"BENCH_SECONDS": "20"}).stretch_seconds(elapsed=500.0, parts_left=3)
    assert 30 == parts.plan({"FULL": "1"}).stretch_seconds(elapsed=500.0, parts_left=3)


def test_every_part_is_measured() -> None:
    """Each part has a method of its name."""
    assert all(callable(getattr(Stretches, name)) for name in parts.EVERY)
