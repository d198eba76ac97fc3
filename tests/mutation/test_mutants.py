"""The mutants still fit the tree. `make mutants`, which takes minutes, shows that each one is caught."""

from __future__ import annotations

import ast
import shutil
from functools import cache
from pathlib import Path

import pytest

from tests.mutation.mutant import Change, Mutant, StalePatch
from tests.mutation.mutants import MUTANTS
from tests.mutation.run import Result, Verdict, evaluate
from tests.mutation.tree import ROOT

OBLIGATORY = {
    "outcome-not-unique",
    "outcomes-read-before-the-locks",
    "outcomes-inserted-unsorted",
    "keys-inserted-unsorted",
    "feeds-locked-in-any-order",
    "status-unconditional",
    "ack-before-the-commit",
    "mandatory-off",
    "marked-without-the-confirm",
    "accounts-locked-in-any-order",
    "key-of-all-users",
    "rejection-not-recorded",
    "barrier-is-no-write",
}
"""The guards that guarantee 43 names."""

by_name = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)


@cache
def functions_of(path: Path) -> set[str]:
    """The names of the functions of a file."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@by_name
def test_patch_applies(mutant: Mutant, tmp_path: Path) -> None:
    """Guarantee 43: each text that a mutant replaces occurs exactly once in the tree, and the result is valid Python."""
    paths = {change.path for change in mutant.changes}
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)

    mutant.apply(tmp_path)

    assert paths
    for path in paths:
        assert (ROOT / path).read_text() != (tmp_path / path).read_text()
        if path.endswith(".py"):
            ast.parse((tmp_path / path).read_text())


@by_name
def test_checks_exist(mutant: Mutant) -> None:
    """Guarantee 43: the checks that must catch a mutant, and the one that must stay green, exist."""
    assert mutant.caught_by
    assert "::" in mutant.works
    for check in mutant.checks:
        path, _, name = check.partition("::")
        assert (ROOT / path).exists()
        assert not name or name.partition("[")[0] in functions_of(ROOT / path)


def test_each_guard_has_one_mutant() -> None:
    """Guarantee 43: names are unique, and all guards named by the guarantee exist."""
    names = [mutant.name for mutant in MUTANTS]

    assert len(names) == len(set(names))
    assert OBLIGATORY <= set(names)


@pytest.mark.parametrize("text", ["nothing of it\n", "guard\nguard\n"], ids=["gone", "twice"])
def test_patch_that_no_longer_fits_is_an_error(tmp_path: Path, text: str) -> None:
    """A text that is missing, or occurs twice, is an error and changes nothing."""
    (tmp_path / "file").write_text(text)

    with pytest.raises(StalePatch, match="instead of once: guard"):
        Change("file", "guard", "").apply(tmp_path)

    assert text == (tmp_path / "file").read_text()


@pytest.mark.parametrize(
    ("results", "verdict", "check"),
    [
        ([Result("works", None), Result("catches", None)], Verdict.GREEN, ""),
        ([Result("works", None), Result("catches", "assert 1 == 2")], Verdict.RED, "catches"),
        ([Result("works", "NameError")], Verdict.BROKEN, "works"),
        ([Result("works", None), Result("works", "the books do not balance")], Verdict.BROKEN, "works"),
        ([], Verdict.BROKEN, "works"),
    ],
    ids=["none failed", "caught", "cannot work", "cannot end its work", "no check ran"],
)
def test_a_failure_counts_only_if_the_ordinary_check_is_green(
    results: list[Result], verdict: Verdict, check: str
) -> None:
    """A mutant that cannot do its ordinary work proves nothing, whatever else fails."""
    assert (verdict, check) == evaluate(results, "works")[:2]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            "Failed: Timeout (>100.0s) from pytest-timeout.",
            "time limit: Failed: Timeout (>100.0s) from pytest-timeout.",
        ),
        ("TimeoutError", "time limit: TimeoutError"),
        ("services.chassis.database.LockTimeout: deadlock detected\nand more", None),
    ],
    ids=["of pytest", "of the test", "none"],
)
def test_a_hang_is_reported_as_a_time_limit(message: str, reason: str | None) -> None:
    """A check that ran into a time limit has failed, with that reason; a lock timeout is something else."""
    result = evaluate([Result("works", None), Result("catches", message)], "works")

    assert (Verdict.RED, "catches", reason or message.partition("\n")[0]) == result
