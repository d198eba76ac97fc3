"""The mutants still fit the tree. That each is caught is shown by `make mutants`, which takes minutes."""

from __future__ import annotations

import ast
import shutil
from functools import cache
from pathlib import Path

import pytest

from tests.mutation.mutant import Change, Mutant, StalePatch
from tests.mutation.mutants import MUTANTS
from tests.mutation.run import Result, Verdict, judge
from tests.mutation.tree import ROOT

OBLIGATORY = {
    "outcome-not-unique",
    "outcomes-read-before-the-locks",
    "outcomes-inserted-unsorted",
    "keys-inserted-unsorted",
    "inbox-inserted-unsorted",
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
    """Guarantee 43: each text a mutant replaces stands in the tree exactly once, and what comes of it is still Python."""
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
    """Guarantee 43: each check that has to catch a mutant, and the one that has to stay green, is there."""
    assert mutant.caught_by
    assert "::" in mutant.works
    for check in mutant.checks:
        path, _, name = check.partition("::")
        assert (ROOT / path).exists()
        assert not name or name in functions_of(ROOT / path)


def test_each_guard_has_one_mutant() -> None:
    """Guarantee 43: no name stands twice, and the guards named by the guarantee are all there."""
    names = [mutant.name for mutant in MUTANTS]

    assert len(names) == len(set(names))
    assert OBLIGATORY <= set(names)


@pytest.mark.parametrize("text", ["nothing of it\n", "guard\nguard\n"], ids=["gone", "twice"])
def test_patch_that_no_longer_fits_is_loud(tmp_path: Path, text: str) -> None:
    """A text that is gone, or stands there twice, is an error and changes nothing."""
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
    ids=["nothing noticed", "caught", "cannot work", "cannot end its work", "no check ran"],
)
def test_red_counts_only_where_the_ordinary_is_green(results: list[Result], verdict: Verdict, check: str) -> None:
    """A mutant that cannot do its ordinary work proves nothing, whatever else turns red."""
    assert (verdict, check) == judge(results, "works")[:2]


@pytest.mark.parametrize(
    ("said", "reason"),
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
def test_a_hang_is_called_one(said: str, reason: str | None) -> None:
    """A check that ran into a time limit is red, and said to be so; a lock that timed out is no such thing."""
    told = judge([Result("works", None), Result("catches", said)], "works")

    assert (Verdict.RED, "catches", reason or said.partition("\n")[0]) == told
