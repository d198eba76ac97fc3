"""The list of guarantees and the tests that show them."""

from __future__ import annotations

import re

from tests.harness import write_guarantees

CELL_LENGTH_MAX = 200


def test_page_lists_the_tests_of_each_guarantee() -> None:
    """docs/guarantee-tests.md is what the docstrings say; `make guarantees` writes it again."""
    assert write_guarantees.page() == write_guarantees.DOCUMENT.read_text()


def test_each_guarantee_that_is_shown_has_a_test() -> None:
    """A guarantee that says it is shown by tests is cited by one, and no test cites an unknown number."""
    rows, tests = write_guarantees.rows(), write_guarantees.tests()
    by_tests = {number for number, (_, shown) in rows.items() if shown.startswith(("test", "in part"))}

    assert set() == by_tests - set(tests)
    assert set() == set(tests) - set(rows)


def test_cells_are_phrases() -> None:
    """No cell of a table in the documentation is longer than a line or two."""
    documents = [*write_guarantees.ROOT.glob("*.md"), *(write_guarantees.ROOT / "docs").rglob("*.md")]
    long = [
        f"{document.name}: {cell[:60]}…"
        for document in documents
        for line in document.read_text().splitlines()
        if line.startswith("|")
        for cell in re.split(r"(?<!\\)\|", line)
        if len(cell.strip()) > CELL_LENGTH_MAX
    ]

    assert [] == long
